"""The demo's tools: list, search and read the files of one folder, and calculate."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field

from executus.demo.calculator import MAX_TEXT, evaluate
from executus.demo.folder import FileText, Folder
from executus.errors import ConfigError
from executus.sanitize import clean_line
from executus.tools import Tool, ToolContext, ToolError, tool

FOLDER_VARIABLE = "EXECUTUS_DEMO_FOLDER"
LINES_PER_FILE = 5
"""Matching lines shown of one file."""
MAX_LINES = 200
"""Matching lines shown in all."""
LINE_WIDTH = 300
"""Characters shown of one line."""
WIND_DOWN = 2.0
"""Seconds before the run's deadline at which a search stops, to keep what it found."""


def demo_folder() -> Path:
    """The folder named by EXECUTUS_DEMO_FOLDER, else the bundled sample."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else Path(__file__).with_name("files")


def folder_tools(root: Path | None = None) -> tuple[Tool, ...]:
    """`list_files`, `search_files` and `read_file` over `root`, and `calculate`.

    Raises:
        ConfigError: when `root` is not a folder.
    """
    place = root or demo_folder()
    if not place.is_dir():
        raise ConfigError(f"{FOLDER_VARIABLE}: {str(place)!r} is not a folder")
    folder = Folder(place)
    return (_list_files(folder), _search_files(folder), _read_file(folder), calculate)


def _list_files(folder: Folder) -> Tool:
    @tool(effect="pure", visibility="shared")
    def list_files() -> list[dict[str, str | int]]:
        """List the files of the folder with their sizes in bytes."""
        return [{"path": entry.path, "bytes": entry.bytes} for entry in folder.files()]

    return list_files


def _search_files(folder: Folder) -> Tool:
    @tool(effect="pure", visibility="shared")
    def search_files(
        text: Annotated[str, Field(min_length=2, max_length=200)], context: ToolContext
    ) -> str:
        """Find the lines that hold a text, in all files of the folder.

        The answer has one `path:line: text` per match, at most five of each file.

        Args:
            text: What to look for; upper and lower case are the same.
            context: The run: a search stops in time for its deadline.
        """
        lines: list[str] = []
        searched = 0
        for entry in folder.files():
            if context.seconds_left < WIND_DOWN or len(lines) >= MAX_LINES:
                lines.append(f"(stopped before {entry.path})")
                break
            context.heartbeat(entry.path)
            searched += 1
            lines += _matches(folder, entry.path, text)
        return "\n".join(lines) or f"no match in {searched} files"

    return search_files


def _matches(folder: Folder, path: str, text: str) -> list[str]:
    try:
        content = folder.read(path).text
    except ToolError:  # not a text file: nothing to find
        return []
    wanted = text.casefold()
    hits = [(i, line) for i, line in _numbered(content) if wanted in line.casefold()]
    shown = [f"{path}:{i}: {clean_line(line, LINE_WIDTH)}" for i, line in hits[:LINES_PER_FILE]]
    more = len(hits) - len(shown)
    return [*shown, f"({more} more in {path})"] if more else shown


def _numbered(content: str) -> list[tuple[int, str]]:
    return list(enumerate(content.splitlines(), start=1))


def _read_file(folder: Folder) -> Tool:
    @tool(effect="pure", visibility="shared")
    def read_file(
        path: Annotated[str, Field(max_length=1_000)],
        first_line: Annotated[int, Field(ge=1)] = 1,
        last_line: Annotated[int, Field(ge=1)] | None = None,
    ) -> str:
        """Read a text file of the folder, whole or some of its lines.

        Args:
            path: As list_files shows it.
            first_line: First line wanted, counted from 1.
            last_line: Last line wanted; the whole file by default.
        """
        file = folder.read(path)
        if first_line == 1 and last_line is None:
            return file.text if file.complete else _cut_short(file)
        return "\n".join(file.text.splitlines()[first_line - 1 : last_line])

    return read_file


def _cut_short(file: FileText) -> str:
    return f"{file.text}\n(the file goes on; at most {len(file.text):,} characters are read)"


@tool(effect="pure", visibility="public", timeout=10.0)
async def calculate(
    expression: Annotated[str, Field(min_length=1, max_length=MAX_TEXT)],
) -> str:
    """Work out an arithmetic expression with decimals: 0.1 + 0.2 is 0.3.

    It knows + - * / // % **, parentheses, and the functions abs, average, max, min, round, sqrt
    and sum. Write 1000 and not 1,000.

    Args:
        expression: For example `(9850.00 + 7420.50) * 2` or `sum(1.5, 2.5, 3)`.
    """
    return evaluate(expression)
