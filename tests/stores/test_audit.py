"""The audit's promises, the same in memory and on both databases."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue

from executus.redact import Redactor
from executus.stores.database import Database
from executus.stores.memory import MemoryAudit
from executus.stores.redaction import Policy
from executus.stores.sql_audit import SqlAudit
from executus.usage import Usage
from tests.stores.clocks import NOW, closing, opening, row

AnyAudit = MemoryAudit | SqlAudit
PAN = r"\b\d{4}(?: ?\d{4}){3}\b"


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
async def make(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    if request.param == "memory":
        yield MemoryAudit
        return
    postgres = request.param == "postgresql"
    url = f"sqlite:///{tmp_path}/a.db"
    database = Database(request.getfixturevalue("postgres").new_schema() if postgres else url)
    await database.migrate()
    yield lambda *args, **options: SqlAudit(database, *args, **options)
    await database.close()


@pytest.fixture
def audit(make: Any) -> AnyAudit:
    found: AnyAudit = make()
    return found


async def test_a_run_is_one_gapless_chain_that_ends_in_the_receipt(audit: AnyAudit) -> None:
    await audit.start(opening())
    await audit.record("run", [row("m1#1"), row("m1.t1#1", kind="tool", name="read")])
    await audit.record("run", [row("e1", kind="event", name="nudge", status="")])
    receipt = await audit.close(closing())
    entries = await audit.rows("run")
    assert [(e.seq, e.entry, e.key) for e in entries] == [
        (0, "open", "open"),
        (1, "row", "m1#1"),
        (2, "row", "m1.t1#1"),
        (3, "row", "e1"),
        (4, "close", "close"),
    ]
    assert receipt.rows == 5
    assert receipt.head == entries[-1].hash
    assert len({e.hash for e in entries}) == 5
    proof = await audit.verify()
    assert (proof.ok, proof.runs, proof.entries) == (True, 1, 5)


async def test_every_store_computes_the_same_chain(make: Any) -> None:
    audit = make()
    await audit.start(opening(inputs={"n": 1.5, "z": None}, prices={"p/m": {"input": 3}}))
    await audit.record("run", [row(usage=Usage(input_tokens=3), seconds=0.25)])
    receipt = await audit.close(closing())
    assert receipt.head == "4eba746bd46ab388f54b04846e7ebc260f9cc6b7739772857dd62b821afe29a4"


async def test_a_close_creates_the_record_that_never_opened(audit: AnyAudit) -> None:
    receipt = await audit.close(closing())
    run = await audit.run("run")
    assert run is not None
    assert (run.caller_id, run.status, run.n_close, run.closed_by) == ("alice", "ok", 1, "run")
    assert receipt.rows == 2
    await audit.start(opening())
    assert len(await audit.rows("run")) == 2


async def test_a_second_close_answers_the_first_receipt_and_changes_nothing(
    audit: AnyAudit,
) -> None:
    await audit.start(opening())
    first = await audit.close(closing())
    again = await audit.close(closing(status="error", reason="internal", closed_by="sweeper"))
    run = await audit.run("run")
    assert again == first
    assert run is not None
    assert (run.status, run.n_close, run.closed_by) == ("ok", 1, "run")


async def test_rows_may_come_before_their_opening(audit: AnyAudit) -> None:
    await audit.record("run", [row()])
    stub = await audit.run("run")
    assert stub is not None
    assert (stub.workflow_run_id, stub.caller_id) == ("", "")
    await audit.start(opening())
    run = await audit.run("run")
    assert run is not None
    assert (run.workflow_run_id, run.caller_id) == ("run-first", "alice")
    assert [e.entry for e in await audit.rows("run")] == ["row", "open"]
    assert (await audit.verify()).ok


async def test_a_row_with_a_known_key_stays_as_it_was(audit: AnyAudit) -> None:
    await audit.record("run", [row("m1#1", summary="first"), row("m1#1", summary="twin")])
    await audit.record("run", [row("m1#1", summary="second"), row("m2#1")])
    entries = await audit.rows("run")
    assert [(e.key, e.body["summary"]) for e in entries] == [("m1#1", "first"), ("m2#1", "")]
    assert await audit.keys("run") == {"m1#1", "m2#1"}
    assert await audit.keys("nobody") == frozenset()


async def test_a_row_after_the_close_is_late_and_leaves_the_head(audit: AnyAudit) -> None:
    await audit.start(opening())
    receipt = await audit.close(closing())
    await audit.record("run", [row("zombie#1")])
    run = await audit.run("run")
    entries = await audit.rows("run")
    assert run is not None
    assert (run.closed_head, run.closed_entries) == (receipt.head, 2)
    assert (run.entries, run.head) == (3, entries[-1].hash)
    assert [e.late for e in entries] == [False, False, True]
    assert (await audit.verify()).ok
    assert await audit.close(closing()) == receipt


async def test_concurrent_writers_of_one_run_leave_no_gap(audit: AnyAudit) -> None:
    await asyncio.gather(
        *(audit.record("run", [row(f"m{n}#1"), row("shared")]) for n in range(24)),
        *(audit.start(opening()) for _ in range(4)),
    )
    receipts = await asyncio.gather(*(audit.close(closing()) for _ in range(4)))
    assert [e.seq for e in await audit.rows("run")] == list(range(27))
    assert len({receipt.head for receipt in receipts}) == 1
    assert (await audit.verify()).ok


async def test_the_tree_of_runs_can_be_walked_and_a_cycle_ends_the_walk(audit: AnyAudit) -> None:
    for name, parent, later in (("a", "c", 0), ("b", "a", 1), ("c", "b", 2), ("d", "a", 3)):
        at = NOW + timedelta(seconds=later)
        await audit.start(opening(name, parent_run_id=parent, started_at=at))
    assert [run.run_id for run in await audit.children("a")] == ["b", "d"]
    assert [run.run_id for run in await audit.ancestors("d")] == ["a", "c", "b"]
    assert await audit.ancestors("nobody") == []


async def test_runs_are_found_by_caller_agent_and_state(audit: AnyAudit) -> None:
    await audit.start(opening("1", caller_id="alice", agent_id="x"))
    await audit.start(opening("2", caller_id="bob", agent_id="x", started_at=NOW + timedelta(1)))
    await audit.close(closing("3", opening=opening("3", parent_run_id="1")))
    names = lambda runs: [run.run_id for run in runs]  # noqa: E731
    assert names(await audit.runs(caller_id="alice")) == ["3", "1"]
    assert names(await audit.runs(agent_id="x")) == ["2", "1"]
    assert names(await audit.runs(top_level=True)) == ["2", "1"]
    assert names(await audit.runs(open_only=True)) == ["2", "1"]
    assert names(await audit.runs(limit=1)) == ["2"]


async def test_open_runs_past_their_deadline_are_found(audit: AnyAudit) -> None:
    await audit.start(opening("due"))
    await audit.start(opening("later", deadline_at=NOW + timedelta(hours=1)))
    await audit.close(closing("closed"))
    await audit.record("stub", [row()])
    past = await audit.open_past(NOW + timedelta(seconds=60))
    assert [run.run_id for run in past] == ["stub", "due"]
    assert [run.run_id for run in await audit.open_past(NOW, limit=1)] == ["stub"]


async def test_a_purge_removes_old_closed_runs_only(audit: AnyAudit) -> None:
    receipt = await audit.close(closing("old"))
    await audit.close(closing("new", ended_at=NOW + timedelta(days=2)))
    await audit.start(opening("open"))
    assert await audit.purge(NOW + timedelta(days=1)) == 1
    assert sorted(run.run_id for run in await audit.runs()) == ["new", "open"]
    assert (await audit.verify()).ok
    if isinstance(audit, SqlAudit):
        gone = await audit.purged("old")
        assert gone is not None
        assert (gone.head, gone.entries) == (receipt.head, 2)
        assert gone.ended_at == NOW + timedelta(seconds=5)
        assert await audit.purged("new") is None


async def test_secrets_are_hidden_but_length_and_digest_stay(make: Any) -> None:
    audit = make(Redactor(patterns=[PAN]))
    key = "sk-" + "a" * 24
    content: dict[str, JsonValue] = {
        "arguments": {"card": "4111 1111 1111 1111", "api_key": "hush", "n": 3},
        "password": 12345,
        "result": f"the key is {key}",
    }
    await audit.start(opening(prompt=f"use {key}", inputs={"secret": "s3cret"}))
    await audit.record("run", [row(content=content, summary=f"called with {key}")])
    await audit.close(closing(output="4111111111111111", error=f"bad {key}"))
    text = "".join(entry.model_dump_json() for entry in await audit.rows("run"))
    for secret in ("4111 1111", "4111111111111111", "hush", "12345", key, "s3cret"):
        assert secret not in text, secret
    kept = (await audit.rows("run"))[1].body["content"]
    assert kept["arguments"]["value"] == {  # type: ignore[index, call-overload]
        "card": "[redacted 19]",
        "api_key": "[redacted 4]",
        "n": 3,
    }
    assert kept["result"]["bytes"] == 38  # type: ignore[index, call-overload]
    assert (await audit.verify()).ok


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        (
            '{"user":"bob","password":"hunter2","deep":[{"api_key":"hunter2"}]}',
            '{"user": "bob", "password": "[redacted 7]", "deep": [{"api_key": "[redacted 7]"}]}',
        ),
        ('{"b":1,"a":"as it was"}', '{"b":1,"a":"as it was"}'),
        ('{"password":"hunter2","password":null}', '{"password": null}'),
        ('{"sk-hunter2hunter2hunter2": 1}', '{"[redacted 24]": 1}'),
        ("no JSON: Bearer hunter2hunter2", "no JSON: [redacted 21]"),
        (
            json.dumps({"rows": ["x" * 100] * 1_500, "password": "hunter2"}),
            None,
        ),
    ],
)
async def test_secrets_in_arguments_are_hidden_by_key_where_they_stand_as_text(
    make: Any, arguments: str, kept: str | None
) -> None:
    audit = make(policy=Policy(text_bytes=4_096))
    calls: list[JsonValue] = [{"id": "c", "name": "login", "arguments": arguments}]
    content: dict[str, JsonValue] = {"arguments": arguments, "calls": calls}
    await audit.record("run", [row(kind="tool", content=content)])
    body = (await audit.rows("run"))[0].body["content"]
    assert "hunter2" not in json.dumps(body)
    seen = body["arguments"]
    assert seen["bytes"] == len(arguments)
    assert seen["sha256"] == hashlib.sha256(arguments.encode()).hexdigest()
    assert body["calls"]["value"][0]["arguments"] == seen["value"]
    if kept is not None:
        assert seen["value"] == kept


async def test_a_tool_under_the_digest_rule_keeps_no_content(make: Any) -> None:
    audit = make(policy=Policy(tools={"medical": "digest"}))
    rows = [
        row(name, kind="tool", name=name, content={"result": "diagnosis"}, summary="diagnosis")
        for name in ("medical", "weather")
    ]
    await audit.record("run", rows)
    medical, weather = await audit.rows("run")
    assert "diagnosis" not in medical.model_dump_json()
    assert weather.body["summary"] == "diagnosis"
    digests = [entry.body["content"]["result"]["sha256"] for entry in (medical, weather)]  # type: ignore[index, call-overload]
    assert digests[0] == digests[1]


async def test_a_digest_key_keeps_short_secrets_from_being_guessed(make: Any) -> None:
    digests = set()
    for key in (None, b"one", b"two"):
        audit = make(policy=Policy(digest_key=key))
        run_id = f"run-{key!r}"
        await audit.record(run_id, [row(content={"result": "1234"})])
        [entry] = await audit.rows(run_id)
        digests.add(entry.body["content"]["result"]["sha256"])  # type: ignore[index, call-overload]
    assert len(digests) == 3


class FailingRedactor:
    def text(self, text: str) -> str:
        raise RuntimeError(text)

    def value(self, value: JsonValue) -> JsonValue:
        raise RuntimeError(str(value))


async def test_a_failing_redactor_costs_the_content_and_never_the_record(make: Any) -> None:
    audit = make(FailingRedactor())
    await audit.start(opening(prompt="planted"))
    await audit.record("run", [row(content={"result": "planted"}, summary="planted")])
    await audit.close(closing(output="planted", error="planted"))
    entries = await audit.rows("run")
    assert "planted" not in "".join(entry.model_dump_json() for entry in entries)
    kept = entries[1].body["content"]["result"]  # type: ignore[index, call-overload]
    assert kept["bytes"] == 7  # type: ignore[index, call-overload]
    assert kept["withheld"] == "redactor failed: RuntimeError"  # type: ignore[index, call-overload]
    digest = hashlib.sha256(b"planted").hexdigest()
    said = f"(withheld: 7 bytes, sha256 {digest})"
    assert (entries[1].body["summary"], entries[2].body["error"]) == (said, said)
    assert (await audit.verify()).ok


async def test_a_secret_at_the_place_of_a_cut_is_not_half_shown(make: Any) -> None:
    audit = make(policy=Policy(text_bytes=1_000))
    secret = " sk-" + "z" * 40 + " "
    places = [*range(500, 900, 15), *range(2_500, 3_300, 20)]
    for place in places:
        head = "x" * place + secret + "y" * (9_000 - place)
        tail = "y" * (9_000 - place) + secret + "x" * place
        rows = [row(f"{place}{n}", content={"r": text}) for n, text in enumerate((head, tail))]
        await audit.record("run", rows)
    stored = "".join(entry.model_dump_json() for entry in await audit.rows("run"))
    assert "zz" not in stored
