"""Dead letters on every store: kept once, taken by one, forgotten when they landed."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import pytest
from sqlalchemy import text

from executus.audit import AuditRow
from executus.errors import DeliveryError, StoreError
from executus.letter import DeadLetter, DeliveryItem, DeliveryReceipt
from executus.ports import DeadLetters
from executus.redelivery import CLAIM_SECONDS, Redelivery
from executus.stores.database import Database
from executus.stores.memory import MemoryAudit, MemoryLetters
from executus.stores.sql_letters import SqlLetters
from tests.delivery.kit import item
from tests.stores.clocks import NOW, Clock, closing, opening


def letter(run_id: str = "run-1", **fields: object) -> DeadLetter:
    sent = item(address="here", run_id=run_id, output="the secret answer")
    base = {
        "id": sent.id,
        "run_id": run_id,
        "target": "webhook here",
        "status": "ok",
        "attempts": 4,
        "error": "the receiver answered 503",
        "status_code": 503,
        "failed_at": NOW,
        "item": sent,
    }
    return DeadLetter.model_validate({**base, **fields})


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
async def letters(
    request: pytest.FixtureRequest, clock: Clock, tmp_path
) -> AsyncIterator[DeadLetters]:
    if request.param == "memory":
        yield MemoryLetters(clock)
        return
    url = f"sqlite:///{tmp_path}/store.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").new_schema()
    database = Database(url, clock=clock)
    await database.migrate()
    yield SqlLetters(database)
    await database.close()


async def test_a_letter_is_kept_once_and_comes_back_as_it_was(letters: DeadLetters) -> None:
    first = letter()
    await letters.keep(first)
    await letters.keep(first.model_copy(update={"error": "another"}))
    assert await letters.letters() == [first]
    assert (await letters.letters())[0].item.body == first.item.body


@pytest.mark.parametrize("run_id", ["x" * 255, "a/ü\u202e", "'; DROP TABLE dead_letters; --"])
async def test_any_run_id_is_found_again(letters: DeadLetters, run_id: str) -> None:
    await letters.keep(letter(run_id))
    await letters.keep(letter("other"))
    assert [one.run_id for one in await letters.letters(run_id)] == [run_id]
    assert await letters.drop(run_id) == 1
    assert [one.run_id for one in await letters.letters()] == ["other"]


async def test_of_many_who_claim_at_once_one_gets_it(letters: DeadLetters) -> None:
    kept = letter()
    await letters.keep(kept)
    claims = await asyncio.gather(*(letters.claim(kept.id, 60) for _ in range(20)))
    assert [claim for claim in claims if claim is not None] == [kept]


async def test_a_claim_ends_with_its_time_or_with_a_failure(
    letters: DeadLetters, clock: Clock
) -> None:
    kept = letter()
    await letters.keep(kept)
    assert await letters.claim(kept.id, 60) is not None
    clock.advance(seconds=59)
    assert await letters.claim(kept.id, 60) is None
    clock.advance(seconds=1)
    assert await letters.claim(kept.id, 60) is not None
    await letters.failed(kept.id, "the receiver answered 500", 500)
    [now] = await letters.letters()
    assert (now.attempts, now.error, now.status_code) == (5, "the receiver answered 500", 500)
    assert now.failed_at == clock.now
    assert await letters.claim(kept.id, 60) is not None


async def test_what_landed_is_not_sent_again_and_its_content_is_gone(letters: DeadLetters) -> None:
    kept = letter()
    await letters.keep(kept)
    await letters.landed(kept.id, NOW)
    assert await letters.letters() == []
    assert await letters.claim(kept.id, 60) is None
    await letters.keep(kept)
    [gone] = await letters.letters(delivered=True)
    assert (gone.item, gone.delivered_at, gone.run_id) == (None, NOW, "run-1")
    if isinstance(letters, SqlLetters):
        rows = await letters._database.read(
            lambda connection: connection.execute(text("SELECT * FROM dead_letters")).all()
        )
        assert "secret answer" not in str(rows)


async def test_letters_are_listed_oldest_first_and_dropped_by_age(letters: DeadLetters) -> None:
    for days, name in ((1, "young"), (40, "old"), (20, "older")):
        await letters.keep(letter(name, failed_at=NOW - timedelta(days=days)))
    assert [one.run_id for one in await letters.letters()] == ["old", "older", "young"]
    assert [one.run_id for one in await letters.letters(limit=1)] == ["old"]
    assert await letters.drop(before=NOW - timedelta(days=15)) == 2
    assert [one.run_id for one in await letters.letters()] == ["young"]


async def test_nothing_is_changed_of_a_letter_that_is_not_there(letters: DeadLetters) -> None:
    await letters.failed("none", "x", None)
    await letters.landed("none", NOW)
    assert await letters.claim("none", 60) is None
    assert await letters.drop("none") == 0
    assert await letters.letters(delivered=True) == []


# -- sending them again ------------------------------------------------------------------------


class Door:
    """A delivery that fails as often as it is told, and holds while it is closed."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.items: list[DeliveryItem] = []
        self.open = asyncio.Event()
        self.open.set()

    def problem(self, target: object) -> str | None:
        return None

    async def deliver(self, sent: DeliveryItem) -> DeliveryReceipt:
        await self.open.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.items.append(sent)
        return DeliveryReceipt(id="x", target="y", delivered_at=NOW, status_code=204)


async def test_two_at_once_send_it_once_with_its_first_id_and_body(letters: DeadLetters) -> None:
    kept, door, audit = letter(), Door(), MemoryAudit()
    await audit.start(opening("run-1"))
    closed = await audit.close(closing("run-1"))
    await letters.keep(kept)
    door.open.clear()
    tasks = [asyncio.create_task(Redelivery(door, letters, audit).send(kept)) for _ in range(4)]
    while sum(task.done() for task in tasks) < 3:
        await asyncio.sleep(0.01)
    door.open.set()
    results = await asyncio.gather(*tasks)
    assert [sent.body for sent in door.items] == [kept.item.body]
    [landed] = [result.receipt for result in results if result.receipt]
    assert (landed.id, landed.target, landed.attempts) == (kept.id, "webhook here", 5)
    assert [result.error for result in results] == [None] * 4
    [entry] = [entry for entry in await audit.rows("run-1") if entry.name == "delivered"]
    assert entry.late, "it came after the close, whose head stays"
    assert (await audit.verify("run-1")).ok
    assert (await audit.run("run-1")).closed_head == closed.head


async def test_a_failure_is_counted_and_leaves_it_for_the_next(letters: DeadLetters) -> None:
    kept = letter()
    door = Door(
        DeliveryError("still shut", status_code=500), RuntimeError("token=sk-abcdefghijklmnop")
    )
    await letters.keep(kept)
    redelivery = Redelivery(door, letters)
    assert (await redelivery.send(kept)).error == "still shut"
    told = (await redelivery.send(kept)).error
    assert told is not None
    assert "sk-abc" not in told
    [now] = await letters.letters()
    assert (now.attempts, now.status_code) == (6, None)
    assert (await redelivery.send(kept)).receipt is not None


class Away:
    async def record(self, run_id: str, rows: Sequence[AuditRow]) -> None:
        raise StoreError("the database is away")


async def test_what_could_not_be_recorded_stays_listed(letters: DeadLetters, clock: Clock) -> None:
    kept, door = letter(), Door()
    await letters.keep(kept)
    with pytest.raises(StoreError):
        await Redelivery(door, letters, Away()).send(kept)
    assert [one.id for one in await letters.letters()] == [kept.id]
    clock.advance(seconds=CLAIM_SECONDS)
    audit = MemoryAudit()
    assert (await Redelivery(door, letters, audit).send(kept)).receipt is not None
    assert len(door.items) == 2, "sent twice with one id rather than never recorded"
    assert len(await audit.rows("run-1")) == 1
