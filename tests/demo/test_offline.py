import ast
import csv
import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

import executus.demo
from executus.demo import DEMO_QUESTION, OfflineProvider, demo_folder, folder_tools
from executus.demo.answer import LABEL
from executus.errors import ModelError
from executus.files import READ_MORE, DroppedFile, FileScope, attached_block
from executus.message import Message
from executus.models.provider import ModelRequest, Provider, WireMessage
from executus.stores.blobs import FolderBlobs
from executus.stores.file_store import FileStore
from executus.submit import submit_tool
from executus.tools import Registry
from executus.tools.read_more import FILE_TOOLS
from executus.tools.run_files import RunFiles
from executus.transcript import SUMMARY_HEADER

from .driver import Run, run_offline


@pytest.fixture(name="registry")
def _registry() -> Registry:
    return Registry(folder_tools())


def spent(project: str) -> Decimal:
    """The truth about the sample, by another way than the script's."""
    total = Decimal(0)
    for name in ("invoices-2025.csv", "expenses-2025.csv"):
        with (demo_folder() / name).open(newline="") as file:
            rows = csv.DictReader(file)
            total += sum(Decimal(r["amount_eur"]) for r in rows if r["project"] == project)
    return total


async def test_the_demo_question_is_answered_with_the_right_numbers(registry: Registry) -> None:
    run = await run_offline(DEMO_QUESTION, registry)
    total = spent("Lighthouse")
    assert total == Decimal("39630.00")
    assert f"The total is {total:,}" in run.answer
    assert f"What is left of the budget is {42_500 - int(total):,}" in run.answer
    assert run.answer.endswith(LABEL)
    assert "No language model was used" in LABEL


async def test_the_demo_question_uses_every_tool_and_some_in_parallel(registry: Registry) -> None:
    run = await run_offline(DEMO_QUESTION, registry)
    assert list(dict.fromkeys(run.tools)) == [
        "list_files",
        "search_files",
        "read_file",
        "calculate",
    ]
    assert max(len(turn) for turn in run.turns) >= 3
    assert all(part.outcome == "ok" for part in run.results)
    for source in ("invoices-2025.csv", "expenses-2025.csv", "minutes/2025-01-steering.txt"):
        assert source in run.answer


async def test_the_same_question_always_takes_the_same_way(registry: Registry) -> None:
    assert await run_offline(DEMO_QUESTION, registry) == await run_offline(DEMO_QUESTION, registry)


async def test_call_ids_are_unique_in_the_run(registry: Registry) -> None:
    ids = [part.call_id for part in (await run_offline(DEMO_QUESTION, registry)).results]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("How much did we pay Halden Cells in total?", "The total is 26,600.00"),
        ("What did the Beacon Project cost altogether?", f"The total is {spent('Beacon'):,}"),
        ("What is the average of the hours on Lighthouse in March?", "The average is 80"),
        ("How many hours did Mara Okafor work in total?", "The total is 416"),
        (
            "What is the difference between the costs of Lighthouse and Beacon?",
            "is 19,553.00",
        ),
        ('total of the "Castor Steel" invoices', "The total is 8,880.50"),
        ("Who leads the Beacon project?", "Lead: Pieter van Aalst."),
        ("Which supplier delivers sensors?", "supplier Quill Instruments"),
        ("When are the sea trials?", "Sea trials: 18 September 2025"),
        ("How much may a hotel cost?", "A hotel night may cost up to EUR 140 net."),
        ("What is 12.5 * (3 + 4)?", "The result is 87.5."),
        ("Is there anything about zebras?", 'No file says anything about "zebra"'),
        ("", "Files in the folder: README.md"),
    ],
)
async def test_other_questions_get_an_answer_from_the_files(
    registry: Registry, question: str, expected: str
) -> None:
    run = await run_offline(question, registry)
    assert expected in run.answer
    assert run.answer.endswith(LABEL)


async def test_another_folder_works_as_well(tmp_path: Path) -> None:
    (tmp_path / "sales.csv").write_text("region;units;revenue\nNorth;3;1000,50\nSouth;4;2000,25\n")
    (tmp_path / "notes.md").write_text("# North\nManager: Sigrid\n\n# South\nManager: Omar\n")
    registry = Registry(folder_tools(tmp_path))
    assert "The total is 3,000.75" in (await run_offline("Total revenue?", registry)).answer
    assert "The total is 7" in (await run_offline("Sum of all units?", registry)).answer
    assert "Manager: Sigrid" in (await run_offline("Who manages the North?", registry)).answer


@pytest.fixture(name="attached")
def _attached(tmp_path: Path) -> RunFiles:
    store = FileStore(FolderBlobs(tmp_path / "files"))
    return RunFiles(store, FileScope(run_id="run", caller_id="ann"))


async def ask(question: str, files: RunFiles, contents: dict[str, bytes], folder: Path) -> Run:
    """Ask with files attached, about a folder."""
    kept = [await files.put(name, "", data) for name, data in contents.items()]
    block = attached_block(kept, [DroppedFile(name="huge.bin", why="larger")], READ_MORE)
    registry = Registry((*folder_tools(folder), *FILE_TOOLS))
    return await run_offline(f"{question}\n\n{block}", registry, 8_000, files)


async def test_attached_files_are_read_and_their_list_is_no_part_of_the_question(
    attached: RunFiles, tmp_path: Path
) -> None:
    (tmp_path / "notes.md").write_text("The lighthouse is white.\n")
    run = await ask(
        "What did lighthouse cost", attached, {"a.txt": b"Lighthouse cost 4711\n"}, tmp_path
    )
    searched = [json.loads(c.arguments) for t in run.turns for c in t if c.name == "search_files"]
    assert searched == [{"text": "lighthouse"}]
    assert run.tools[0] == READ_MORE
    assert "- attached a.txt line 1: Lighthouse cost 4711" in run.answer
    assert "- notes.md line 1: The lighthouse is white." in run.answer


async def test_attached_tables_are_added_up_and_what_was_not_read_is_told(
    attached: RunFiles, tmp_path: Path
) -> None:
    long = b"region,revenue\n" + b"North,1\n" * 2_000
    contents = {"t.csv": b"region,revenue\nSouth,3\nSouth,4\n", "l.csv": long, "b.bin": b"\0\1"}
    folder = tmp_path / "empty"
    folder.mkdir()
    run = await ask("Total revenue of South?", attached, contents, folder)
    assert "The total is 7" in run.answer
    assert "Only a part of attached l.csv was read" in run.answer
    assert "Not read: attached b.bin." in run.answer


async def test_an_empty_folder_gets_an_honest_answer(tmp_path: Path) -> None:
    run = await run_offline(DEMO_QUESTION, Registry(folder_tools(tmp_path)))
    assert "Files in the folder: none." in run.answer


async def test_numbers_from_a_file_that_was_cut_come_with_a_warning(tmp_path: Path) -> None:
    rows = "".join(f"North,{i}\n" for i in range(5_000))
    (tmp_path / "sales.csv").write_text("region,revenue\n" + rows)
    registry = Registry(folder_tools(tmp_path))
    run = await run_offline("Total revenue of North?", registry, result_bytes=2_000)
    assert "Only a part of sales.csv was read" in run.answer


async def test_more_numbers_than_fit_are_counted_and_not_hidden(tmp_path: Path) -> None:
    rows = "".join(f"North,{i}\n" for i in range(400))
    (tmp_path / "sales.csv").write_text("region,revenue\n" + rows)
    run = await run_offline("Total revenue of North?", Registry(folder_tools(tmp_path)))
    assert "150 further numbers found no room" in run.answer


async def test_without_tools_it_answers_at_once_and_says_why() -> None:
    run = await run_offline(DEMO_QUESTION, Registry())
    assert run.turns == []
    assert "Nothing was looked up" in run.answer
    assert run.answer.endswith(LABEL)


def request(registry: Registry, *messages: Message, **options: object) -> ModelRequest:
    return ModelRequest(
        model="script",
        system_prompt="",
        messages=[WireMessage(message) for message in messages],
        tools=[tool.definition(65_536) for tool in registry],
        **options,  # type: ignore[arg-type]
    )


async def test_a_closing_answer_asks_for_no_tool(registry: Registry) -> None:
    closing = request(registry, Message.user(DEMO_QUESTION), tool_choice="none")
    reply = await OfflineProvider().complete(closing, lambda text: None)
    assert (reply.stop, reply.message.tool_calls) == ("end", ())


async def test_after_a_compaction_it_answers_from_what_is_left(registry: Registry) -> None:
    folded = request(registry, Message.user(DEMO_QUESTION), Message.user(SUMMARY_HEADER + "stuff"))
    reply = await OfflineProvider().complete(folded, lambda text: None)
    assert reply.stop == "end"


async def test_a_result_in_a_schema_is_not_supported(registry: Registry) -> None:
    shaped = replace(request(registry, Message.user("x")), tools=(submit_tool({"type": "object"}),))
    with pytest.raises(ModelError) as caught:
        await OfflineProvider().complete(shaped, lambda text: None)
    assert caught.value.fault == "unsupported"


async def test_progress_is_the_text_in_pieces_and_usage_is_estimated(registry: Registry) -> None:
    provider: Provider = OfflineProvider()
    pieces: list[str] = []
    reply = await provider.complete(request(registry, Message.user(DEMO_QUESTION)), pieces.append)
    await provider.close()
    assert "".join(pieces) == reply.message.text
    assert reply.usage.model_calls == 1
    assert reply.usage.input_tokens > len(DEMO_QUESTION) // 4
    assert reply.usage.output_tokens > 0


async def test_replies_survive_a_round_trip_as_json(registry: Registry) -> None:
    run = await run_offline("Wieviel kostet „Größe“ 日本語?", registry)
    for reply in run.replies:
        message = reply.message
        assert Message.model_validate_json(message.model_dump_json()) == message
        for call in message.tool_calls:
            json.loads(call.arguments)


def test_the_demo_imports_no_model_sdk() -> None:
    for path in Path(executus.demo.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
                assert not any(name.startswith(("openai", "anthropic")) for name in names), path
