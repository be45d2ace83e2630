"""`executus run --deliver` as a process, and wrong calls of it and of `executus deliveries`."""

import asyncio
import json
from datetime import UTC, datetime

import pytest

from executus import DeliveryTarget, Invocation, Reason, RunResult, Status
from executus.cli import deliveries
from executus.cli.app import invoke
from executus.cli.compose import Composition
from executus.envelope import delivery_item
from executus.errors import DeliveryError, StoreError
from executus.letter import DeadLetter, DeliveryReceipt
from executus.plugin import ExecutusPlugin
from executus.ports import DeadLetters, Ports
from executus.stores.database import Database
from executus.stores.memory_letters import MemoryLetters
from executus.stores.sql_letters import SqlLetters

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_run_is_delivered_to_a_file_of_its_own(executus, tmp_path):
    code, out, err = executus("run", "How much?", "--id", "r2", "--deliver", "file")
    assert code == 0, err
    assert "delivered file, 1 attempt" in err
    event = json.loads((tmp_path / ".executus" / "delivered" / "r2.json").read_text())
    assert event["data"]["output"].strip() == out.strip()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("run x --deliver Pigeon:home", "`kind`"),
        ("run x --json --deliver stdout", "not --deliver stdout"),
        ("run --id x --deliver file", "needs a PROMPT"),
        ("deliveries retry", "give a RUN, or --all"),
        ("deliveries retry r --all", "give a RUN, or --all"),
        ("deliveries retry --all --app executus.plugin:ExecutusPlugin", "no `delivery`"),
        ("deliveries drop", "give a RUN, or --older-than"),
        ("deliveries drop r --older-than 3d", "give a RUN, or --older-than"),
        ("deliveries --all --limit 5 retry r", "--all, --limit before `retry`"),
        ("deliveries retry r --database x --app a:b", "no --database with it"),
    ],
)
def test_a_wrong_call_names_the_way_out(call, says, capsys):
    assert invoke(call.split()) == 2
    assert says in capsys.readouterr().err


class Failing(MemoryLetters):
    """Letters whose store goes away after the first was taken."""

    async def claim(self, letter_id, seconds):
        if letter_id != "d1":
            raise StoreError("postgresql: connection refused")
        return await super().claim(letter_id, seconds)


class Receiver:
    """A receiver that takes everything."""

    async def deliver(self, item):
        shown = item.target.shown
        return DeliveryReceipt(id=item.id, target=shown, delivered_at=LONG_AGO, attempts=1)


async def _keep_three(letters: DeadLetters) -> None:
    await _keep_many(letters, 3)


async def _keep_many(letters: DeadLetters, many: int) -> None:
    for number in range(1, many + 1):
        run_id, target = f"r{number}", DeliveryTarget(kind="file")
        ended = {"status": Status.OK, "reason": Reason.ANSWER, "started_at": LONG_AGO}
        result = RunResult(run_id=run_id, output="done", ended_at=LONG_AGO, **ended)
        item = delivery_item(target, result, Invocation(), agent="a", workflow_run_id="w")
        known = {"id": f"d{number}", "run_id": run_id, "target": target.shown, "status": "ok"}
        letter = DeadLetter(**known, attempts=1, error="down", failed_at=LONG_AGO, item=item)
        await letters.keep(letter)


def test_the_database_that_is_named_is_the_one_that_is_changed(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    urls = [f"sqlite:///{tmp_path / name}" for name in ("one.db", "two.db")]
    for url in urls:
        asyncio.run(_keep_in(url))
    monkeypatch.setenv("EXECUTUS_DATABASE_URL", urls[0])

    assert invoke(["deliveries", "--database", urls[1], "drop", "r1"]) == 2
    assert "--database before `drop`" in capsys.readouterr().err
    assert invoke(["deliveries", "drop", "r1", "--database", urls[1]]) == 0
    assert capsys.readouterr().out == "forgot 1\n"
    assert invoke(["deliveries", "drop", "r1", "--database", urls[1]]) == 2
    assert "nothing is left of run `r1`" in capsys.readouterr().err

    assert invoke(["deliveries", "retry", "r2", "--database", urls[1]]) == 0
    monkeypatch.setenv("EXECUTUS_DATABASE", urls[1])
    assert invoke(["deliveries", "retry", "r3"]) == 0
    assert invoke(["deliveries"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "delivered r2 to file, attempt 2",
        "delivered r3 to file, attempt 2",
    ]
    assert invoke(["deliveries", "--database", urls[0]]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


async def _keep_in(url: str) -> None:
    database = Database(url, auto_migrate=True)
    await _keep_three(SqlLetters(database))
    await database.close()


def test_a_store_that_goes_away_in_a_retry_does_not_hide_what_was_delivered(capsys, monkeypatch):
    letters = Failing()
    asyncio.run(_keep_three(letters))
    plugin = ExecutusPlugin(ports=Ports(delivery=Receiver(), letters=letters))
    monkeypatch.setattr(deliveries, "compose", lambda settings: Composition(plugin=plugin))
    assert invoke(["deliveries", "retry", "--all"]) == 1
    out, err = capsys.readouterr()
    assert not err
    told = out.splitlines()
    assert told == [
        "delivered r1 to file, attempt 2",
        "FAILED    r2 to file: postgresql: connection refused",
    ]


class Picky(Receiver):
    """A receiver that never takes the first of them."""

    async def deliver(self, item):
        if item.run_id == "r1":
            raise DeliveryError("no")
        return await super().deliver(item)


@pytest.mark.parametrize("page", [1, 2, 3, 200])
def test_all_that_wait_are_sent_however_many_a_page_has(page, capsys, monkeypatch):
    letters = MemoryLetters()
    asyncio.run(_keep_three(letters))
    asyncio.run(letters.claim("d2", 60))  # somebody else is sending it: it stays in front
    plugin = ExecutusPlugin(ports=Ports(delivery=Picky(), letters=letters))
    monkeypatch.setattr(deliveries, "compose", lambda settings: Composition(plugin=plugin))
    monkeypatch.setattr(deliveries, "PAGE", page)
    assert invoke(["deliveries", "retry", "--all"]) == 1
    assert sorted(capsys.readouterr().out.splitlines()) == [
        "FAILED    r1 to file: no",
        "delivered r3 to file, attempt 2",
        "left      r2 to file: somebody else delivers it, or has",
    ]


def test_more_letters_than_a_store_lists_at_once_are_all_sent(capsys, monkeypatch):
    letters = MemoryLetters()
    asyncio.run(_keep_many(letters, 1_100))
    plugin = ExecutusPlugin(ports=Ports(delivery=Receiver(), letters=letters))
    monkeypatch.setattr(deliveries, "compose", lambda settings: Composition(plugin=plugin))
    assert invoke(["deliveries", "retry", "--all"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1_100


def test_a_list_that_is_cut_says_so(monkeypatch, tmp_path, capsys):
    url = f"sqlite:///{tmp_path / 'one.db'}"
    asyncio.run(_keep_in(url))
    for limit, more in [("2", "there are more than these 2: --limit N shows N\n"), ("3", "")]:
        assert invoke(["deliveries", "--limit", limit, "--database", url]) == 0
        said = capsys.readouterr()
        assert (len(said.out.splitlines()), said.err) == (int(limit), more)
