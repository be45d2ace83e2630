"""What a paused run waits for people to do, and the command that does it: for terminal and UI."""

from executus.question import Question
from executus.sanitize import visible_text
from executus.state import LiveState


def wait_lines(state: LiveState) -> dict[str, tuple[str, str]]:
    """Step id (or `limit`) -> what is waited for, and the command."""
    lines = {q.step_id: question_lines(state.run_id, q) for q in state.questions}
    if state.waiting and not lines:
        command = f"executus budget grant {state.run_id} --tokens N (or --usd X)"
        lines["limit"] = (f"paused: {state.waiting}", command)
    return lines


def running_children(state: LiveState) -> list[str]:
    """Ids of the runs of its sub-agents that go on."""
    return [s.child_run_id for s in state.steps if s.child_run_id and s.status == "running"]


def question_lines(run_id: str, question: Question) -> tuple[str, str]:
    """A question for people, and how to settle it."""
    until = f"until {question.expires_at:%H:%M:%S} UTC"
    if question.kind == "answer":
        given = " | ".join(map(visible_text, question.options))
        options = f" [{given}]" if given else ""
        return (
            f"{question.step_id} asks {until}: {question.text}{options}",
            f"executus answer {run_id} --step {question.step_id} TEXT",
        )
    return (
        f"{question.step_id} waits for approval {until}: {question.tool} {question.arguments}",
        f"executus approve {run_id} {question.step_id}   (or deny; digest {question.digest})",
    )
