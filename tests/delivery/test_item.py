"""What is delivered: its identity, its size, and what people see of its target."""

import json
from datetime import timedelta

import pytest
from pydantic import ValidationError

from executus.delivery_target import DeliveryTarget
from executus.envelope import MAX_EVENT_BYTES
from executus.files import file_ref
from executus.letter import DeliveryItem

from .kit import NOW, item


def test_the_id_is_the_same_for_the_same_outcome_and_another_for_another():
    assert item().id == item().id
    later = NOW + timedelta(seconds=1)
    assert item(ended_at=later).id == item().id, "a run that was reset and came to the same end"
    others = [item(run_id="run-2"), item(address="elsewhere"), item(output="another")]
    others += [item(structured={"a": 1}), item(error="why")]
    assert len({item().id, *(other.id for other in others)}) == 6


def test_the_body_is_the_same_after_a_round_trip_through_a_store():
    sent = item(structured={"b": 1.0, "a": [None, "ü"]}, output="ü\n\x1f")
    again = DeliveryItem.model_validate_json(sent.model_dump_json())
    assert again.body == sent.body
    assert again.id == json.loads(sent.body)["id"] == sent.id


@pytest.mark.parametrize("output", ["x" * 300_000, "\x01" * 262_144, "ü" * 200_000])
def test_a_large_output_is_cut_and_the_event_says_so(output):
    sent = item(output=output, structured={"kept": False}, error="e" * 500_000)
    assert len(sent.body) <= MAX_EVENT_BYTES + 100
    data = sent.event.data
    assert data.truncated
    assert data.structured is None
    assert "bytes cut" in data.output
    assert len(data.output) > 30_000


def test_files_are_named_and_go_last_where_there_is_no_room():
    few = tuple(file_ref(f"{n}.csv", "text/csv", b"1;2") for n in range(100))
    data = item(output="x" * 300_000, files=few).event.data
    assert (data.files, data.truncated) == (few, True)
    long = tuple(ref.model_copy(update={"name": "\x01" * 1_000}) for ref in few)
    sent = item(output="text", files=long)
    assert len(sent.body) <= MAX_EVENT_BYTES
    assert (sent.event.data.files, sent.event.data.truncated) == ((), True)


def test_a_large_structured_value_is_left_out_whole():
    data = item(output="the text", structured=["x" * 1_000] * 400).event.data
    assert (data.output, data.structured, data.truncated) == ("the text", None, True)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://hooks.example.com/T00/B00/secret?key=1", "webhook https://hooks.example.com/..."),
        ("https://user:pass@example.com:8443/x", "webhook https://example.com:8443/..."),
        ("https://[::1", "webhook an address that cannot be read"),
        ("orders", "webhook orders"),
        ("", "webhook"),
    ],
)
def test_people_see_no_path_query_or_password_of_a_target(address, shown):
    assert DeliveryTarget(kind="webhook", address=address).shown == shown


@pytest.mark.parametrize("fields", [{"kind": "Web Hook"}, {"kind": ""}, {"address": "a\nb"}])
def test_a_target_that_cannot_be_is_refused(fields):
    with pytest.raises(ValidationError):
        DeliveryTarget(**{"kind": "webhook", **fields})
