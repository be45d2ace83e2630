"""What the workflow tells of steps and events that lie before a reset, and what is made of it."""

from executus.audit import AuditRow
from executus.resets import Descent, Reset
from executus.workflows.ledger import Ledger
from tests.stores.clocks import NOW, row


def told(ledger: Ledger, step: str) -> tuple[int, bool]:
    placed = ledger.placed(step, row(f"{step}#1"))
    return placed.resets_since, placed.across


def begin(ledger: Ledger, step: str) -> None:
    ledger.begin(step, "tool.add", 1, "", NOW)


def test_a_step_knows_how_many_resets_came_after_it() -> None:
    ledger = Ledger()
    for step in ("m1", "lost", "pending"):
        begin(ledger, step)
    ledger.finish("m1", "complete", NOW, attempt=1)
    ledger.was_reset()
    ledger.finish("pending", "complete", NOW, attempt=1)
    ledger.finish("lost", "unknown", NOW)
    begin(ledger, "m2")
    ledger.finish("m2", "complete", NOW, attempt=1)
    ledger.was_reset()
    begin(ledger, "m3")
    assert told(ledger, "m1") == (2, False)
    assert told(ledger, "pending") == (1, True), "only its own row knows who made it"
    assert told(ledger, "lost") == (1, False)
    assert told(ledger, "m2") == (1, False)
    assert told(ledger, "m3") == (0, False)


def test_an_event_knows_it_too() -> None:
    ledger = Ledger()
    ledger.event("first", "", NOW)
    ledger.was_reset()
    ledger.event("second", "", NOW)
    assert [(e.key, e.resets_since) for e in ledger.events] == [("e1", 1), ("e2", 0)]
    ledger.was_reset()
    descent = Descent("one", ("one", "two", "three"), (reset("two"), reset("three")))
    ledger.event("third", "", NOW)
    keys = [descent.keyed(event).key for event in ledger.events]
    assert keys == ["e1", "e2@two", "e3@three"]


def reset(name: str) -> Reset:
    return Reset(name, NOW, "", ("one",), ("one",), NOW)


def test_a_row_is_missing_by_the_execution_that_made_it() -> None:
    descent = Descent("one", ("one", "two"), (reset("two"),))

    def lacks(have: set[str], **fields: int | bool) -> bool:
        return descent.lacks(AuditRow.model_validate({**row().model_dump(), **fields}), have)

    assert lacks({"m1#1"}), "that is the first life's"
    assert not lacks({"m1#1@two"})
    assert not lacks({"m1#1@two"}, resets_since=1), "it was under way, and was made again"
    assert not lacks({"m1#1"}, across=True)
    assert lacks({"m1#2"}, across=True)
    first = Descent("one", ("two",))
    assert not first.lacks(row(), {"m1#1"}), "written by a version without names"
    assert first.lacks(row(), {"m2#1"})
