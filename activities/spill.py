"""Keep the whole of a tool result that is too long for the conversation, in the run's file store.

Whatever happens here, the result stands: the tool has run, and its outcome must not be lost to a
store that is slow, full or gone. The model is told where the whole is, or why it is nowhere.
"""

import asyncio
import logging

from executus.errors import ToolError
from executus.files import FileRef, size_problem
from executus.message import ToolResultPart
from executus.sanitize import clean_line, clean_text
from executus.tools.read_more import read_more
from executus.tools.run_files import RunFiles
from executus.tools.value import cap_result

TEXT, JSON = "text/plain", "application/json"
MAX_WHY = 200

logger = logging.getLogger(__name__)


async def spill(
    part: ToolResultPart,
    whole: str,
    files: RunFiles,
    *,
    step_id: str,
    limit: int,
    json_limit: int,
    seconds: float,
) -> ToolResultPart:
    """The result, its mark saying how to read on.

    Args:
        part: The result as it was cut.
        whole: All of its text.
        files: Where to keep it.
        step_id: The step, for the file's name.
        limit: Bytes of the result that enter the conversation.
        json_limit: Bytes that they may take as JSON.
        seconds: Time for it.
    """
    ref: FileRef | None = None
    try:
        async with asyncio.timeout(seconds):
            ref = await _keep(whole, files, f"{part.name}-{step_id}")
        note = f'; read on: {read_more.name}(file_id="{ref.id}", offset={{at}})'
    except TimeoutError:
        note = f"; the whole is not kept: the file store took longer than {seconds:.0f} s"
    except ToolError as error:
        note = f"; the whole is not kept: {clean_line(str(error), MAX_WHY)}"
    except Exception as error:  # noqa: BLE001 - the host's own store: whatever it raises
        note = f"; the whole is not kept: the file store raised {type(error).__name__}"
    if ref is None:
        logger.warning("a result of %s could not be kept: %s", part.name, note)
    capped = await asyncio.to_thread(cap_result, whole, limit, note, json_limit)
    file_id = ref.id if ref is not None else ""
    return part.model_copy(update={"text": capped.text, "file_id": file_id})


async def _keep(whole: str, files: RunFiles, name: str) -> FileRef:
    data = await asyncio.to_thread(lambda: clean_text(whole).encode())
    problem = size_problem(len(data))
    if problem is not None:
        raise ToolError(problem)
    is_json = whole[:1] in "[{" and whole[-1:] in "]}"
    kind, suffix = (JSON, "json") if is_json else (TEXT, "txt")
    return await files.keep_whole(f"{name}.{suffix}", kind, data)
