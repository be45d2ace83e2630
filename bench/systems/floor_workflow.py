"""The floor's workflow: what anybody would write by hand who knows that history must stay linear.

It keeps the conversation, passes references to the model step and nothing else: no budget, no
limits, no guards, no redaction, no records, no live page, no typed ending. What executus costs
above it is what those cost.
"""

from datetime import timedelta
from typing import Any

from temporalio import workflow

IDLE = "[[idle]]"
"""In the prompt of a run that is to stand still at its first tool call."""
TIMEOUT = timedelta(seconds=60)


@workflow.defn(name="FloorRun")
class FloorRun:
    def __init__(self) -> None:
        self._items: list[dict[str, Any]] = []

    @workflow.run
    async def run(self, prompt: str) -> str:
        self._items.append({"role": "user", "content": prompt})
        queue = "nowhere" if IDLE in prompt else None
        new: list[str] = []
        while True:
            reply: list[dict[str, Any]] = await workflow.execute_activity(
                "floor.model",
                {"count": len(self._items), "new": new, "prompt": None if new else prompt},
                start_to_close_timeout=TIMEOUT,
                result_type=list[dict[str, Any]],
            )
            self._items += reply
            calls = [item for item in reply if item["type"] == "function_call"]
            if not calls:
                text: str = reply[-1]["content"]
                return text
            new = []
            for call in calls:
                result: str = await workflow.execute_activity(
                    "floor.tool",
                    call,
                    start_to_close_timeout=TIMEOUT,
                    result_type=str,
                    task_queue=queue,
                )
                call_id = call["call_id"]
                self._items.append(
                    {"type": "function_call_output", "call_id": call_id, "output": result}
                )
                new.append(call_id)

    @workflow.query
    def items(self) -> list[dict[str, Any]]:
        return self._items
