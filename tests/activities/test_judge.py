"""What a judge is asked."""

from datetime import UTC, datetime

from executus.activities.judge import SCHEMA, judge_request
from executus.critic_view import CriticView
from executus.plan import ModelTarget
from executus.state import LiveState

VIEW = CriticView(
    kind="judge",
    cause="idle",
    agent_id="a",
    caller_id="ann",
    task="dig",
    state=LiveState(
        run_id="r", agent="a", stage="running", started_at=datetime(2026, 1, 1, tzinfo=UTC)
    ),
    idle_seconds=9,
    seconds_left=60,
    extensions_left=1,
    extend_seconds=30,
    raise_steps=5,
)


def test_a_judge_that_cannot_be_held_to_a_schema_is_told_it():
    target = ModelTarget(spec="m/m", context_window=1_000)
    held = judge_request(VIEW, target, 5.0, "r", native=True)
    told = judge_request(VIEW, target, 5.0, "r", native=False)
    assert (held.output_schema, "JSON schema" in held.system_prompt) == (SCHEMA, False)
    assert (told.output_schema, 'raise_steps","kill"' in told.system_prompt) == (None, True)
