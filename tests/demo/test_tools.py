from pathlib import Path

import pytest

from executus.contracts import RunState
from executus.demo import demo_folder, folder_agent, folder_tools
from executus.errors import ConfigError
from executus.message import ToolResultPart
from executus.tools import Caller, Registry, ToolContext
from executus.tools.invoke import invoke


async def ask(
    tools: Registry, name: str, arguments: str, seconds_left: float = 60
) -> ToolResultPart:
    tool = tools.get(name)
    assert tool is not None
    state = RunState(
        iteration=1, max_iterations=5, tool_calls=1, seconds_elapsed=0, seconds_left=seconds_left
    )
    context = ToolContext(run_id="r", call_id="c", state=state)
    done = await invoke(tool, arguments, context, result_bytes=65_536, last_attempt=True)
    return done.part


@pytest.fixture(name="tools")
def _tools() -> Registry:
    return Registry(folder_tools())


def test_the_agent_gets_all_its_tools_and_each_is_described(tools: Registry) -> None:
    agent = folder_agent()
    granted = tools.grant(
        agent.tools,
        caller=Caller("anybody"),
        visibility=agent.visibility,
        default_result_bytes=65_536,
    )
    assert {d.effect for d in granted} == {"pure"}
    for definition in granted:
        assert definition.description
        properties = definition.parameters["properties"]
        assert isinstance(properties, dict)
        assert all("description" in schema for schema in properties.values())  # type: ignore[operator]


async def test_the_sample_has_files_and_they_can_be_listed(tools: Registry) -> None:
    part = await ask(tools, "list_files", "{}")
    assert '{"path":"minutes/2025-01-steering.txt","bytes":' in part.text


async def test_a_search_finds_lines_whatever_their_case(tools: Registry) -> None:
    part = await ask(tools, "search_files", '{"text": "QUILL"}')
    assert part.text.splitlines() == [
        "invoices-2025.csv:6: 2025-03-27,FT-1040,Quill Instruments,Driftwood,Torque sensor,2180.00",
        "suppliers.csv:5: Quill Instruments,Leiden,Sensors,30",
    ]


async def test_a_search_shows_a_few_lines_of_each_file_and_counts_the_rest(tools: Registry) -> None:
    part = await ask(tools, "search_files", '{"text": "2025-0"}')
    lines = part.text.splitlines()
    assert sum(line.startswith("invoices-2025.csv:") for line in lines) == 5
    assert "(5 more in invoices-2025.csv)" in lines


async def test_a_search_without_a_match_says_so(tools: Registry) -> None:
    assert (await ask(tools, "search_files", '{"text": "zebra"}')).text == "no match in 9 files"


async def test_a_search_stops_in_time_for_the_deadline(tools: Registry) -> None:
    part = await ask(tools, "search_files", '{"text": "Lighthouse"}', seconds_left=1.0)
    assert part.text == "(stopped before README.md)"


async def test_lines_of_a_file_can_be_read(tools: Registry) -> None:
    part = await ask(
        tools, "read_file", '{"path": "suppliers.csv", "first_line": 2, "last_line": 2}'
    )
    assert part.text == "Halden Cells,Halden,Battery modules,30"


async def test_a_path_out_of_the_folder_is_an_error_result(tools: Registry) -> None:
    part = await ask(tools, "read_file", '{"path": "../agent.py"}')
    assert part.outcome == "error"
    assert "not in the folder" in part.text


async def test_calculate_says_what_it_cannot_do(tools: Registry) -> None:
    assert (await ask(tools, "calculate", '{"expression": "6 * 7"}')).text == "42"
    assert (await ask(tools, "calculate", '{"expression": "1/0"}')).outcome == "error"


def test_the_folder_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert demo_folder().name == "files"
    monkeypatch.setenv("EXECUTUS_DEMO_FOLDER", str(tmp_path))
    assert demo_folder() == tmp_path


def test_a_folder_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="EXECUTUS_DEMO_FOLDER"):
        folder_tools(tmp_path / "nowhere")
