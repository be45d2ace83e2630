"""Record a release's histories: `python -m tests.histories.record VERSION`, once per release.

They stay for as long as runs of that release may be open, and replay in every test run: a change
that breaks one needs `workflow.patched`.
"""

import asyncio
import re
import sys
from pathlib import Path

from temporalio.testing import WorkflowEnvironment

from executus.cli.exit import OK, leave
from executus.limits import Defaults
from executus.models.scripted import call, calls, fail, hang, say
from executus.server_program import DYNAMIC_ARGUMENTS
from tests.conftest import temporal_program
from tests.runs.kit import kit
from tests.runs.test_long_runs import TOOLS, adds

FOLDER = Path(__file__).parent
IDENTITY = re.compile(r'"\d+@[^"]*"')
"""Process and host of whoever recorded: of no use to a replay, and nobody's business."""
TRACE = re.compile(r'("stackTrace": )"(?:[^"\\]|\\.)*"')
"""Stack traces name the recorder's folders."""
NAMES = tuple(t.name for t in TOOLS)


def talk(request):
    """A long conversation, for compaction."""
    if not request.tools:  # the summariser has none
        return say("a summary")
    done = sum(len(m.message.tool_calls) for m in request.messages)
    return call("text", n=done, size=2_000) if done < 9 else say("done")


SCENES = {
    "answer": ([say("42")], {}),
    "tools": ([calls(("add", {"a": 1, "b": 2}), ("run_status", {})), say("3")], {}),
    "local-tools": ([calls(("quick", {"n": 1}), ("quick_sync", {"n": 2})), say("3")], {}),
    "max-iterations": ([call("add", a=1, b=1), say("so far")], {"max_iterations": 1}),
    "tool-loop": ([call("same")] * 3, {}),
    "model-unavailable": ([fail("provider_auth", "key")], {}),
    "deadline": ([hang()], {"max_runtime": 1.0}),
    "invalid-arguments": ([calls(("add", "{nope"), ("nope", {})), say("ok")], {}),
    "compaction": (talk, {"max_iterations": 30, "max_runtime": 600}),
    "continue-as-new": (adds(20), {"max_iterations": 60, "max_runtime": 600}),
}


class Env:
    """What `kit` needs of an environment."""

    max_cached_workflows = 100

    def __init__(self, client) -> None:
        self.client = client


async def main(version: str) -> None:
    folder = FOLDER / version
    folder.mkdir(exist_ok=True)
    server = await WorkflowEnvironment.start_time_skipping_v2(
        dev_server_existing_path=temporal_program(), dev_server_extra_args=DYNAMIC_ARGUMENTS
    )
    async with server:
        for name, (script, fields) in SCENES.items():
            long = name == "continue-as-new"
            defaults = Defaults(history_events=60 if long else None, compaction_ratio=0.02)
            async with kit(Env(server.client), tools=TOOLS, defaults=defaults) as k:
                k.scripts["fast"] = talk
                handle = await k.start(script, tools=NAMES, **fields)
                await k.runs.result(handle.id)
                history = await k.client.get_workflow_handle(handle.id).fetch_history()
                text = IDENTITY.sub('"recorder"', history.to_json())
                text = TRACE.sub(r'\1""', text)
                (folder / f"{name}.json").write_text(text)
                print(name, len(history.events))  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
    leave(OK)
