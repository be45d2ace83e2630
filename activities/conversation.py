"""Conversations: this worker's copies of transcripts and plans, bounded in bytes.

A step's input says which transcript it means (count + chain head), not what is in it. What this
worker's own activities produced is here already; what is missing is asked of the workflow itself by
paged query, which costs no history. A copy is used only when its chain head matches, so a stale or
foreign copy can cost a query and never send a wrong conversation (DESIGN.md section 4).
"""

from collections import OrderedDict
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

from temporalio import activity
from temporalio.exceptions import ApplicationError

from executus.contracts import QUERY_PLAN, QUERY_TRANSCRIPT, RunKey
from executus.digest import chain, digest
from executus.message import Message
from executus.metrics import count_load
from executus.models.provider import WireMessage
from executus.plan import RunPlan
from executus.transcript import EMPTY, Cursor, TranscriptPage

QUERY_SECONDS = 20.0
"""Seconds one query may take: after a worker died, the first one waits for its sticky queue."""
TRANSCRIPT_BYTES = 256 * 1024 * 1024
"""Bytes of memory for transcripts."""
PRODUCED_BYTES = 32 * 1024 * 1024
"""Bytes of memory for single messages that wait for the next step of their run."""
MESSAGE_BYTES = 1_800
"""What a message takes besides its text, which is there twice: as text and as request bytes."""
PLANS = 256
"""Plans kept."""

T = TypeVar("T")
Name = tuple[RunKey, str]
"""A run's message, by its digest."""


@dataclass(slots=True)
class Copy:
    """A worker's copy of one run's transcript."""

    messages: list[WireMessage] = field(default_factory=list[WireMessage])
    heads: list[str] = field(default_factory=lambda: [EMPTY])
    """Chain head after each count of messages."""
    call_ids: set[str] = field(default_factory=set[str])
    """Ids of all tool calls, so that a new reply's can be told from them."""
    bytes: int = 0
    counted: int = 0
    """How many of them the cache has counted."""

    def push(self, message: WireMessage, name: str, size: int) -> None:
        """Add the next message."""
        self.messages.append(message)
        self.heads.append(chain(self.heads[-1], name))
        self.call_ids.update(call.id for call in message.message.tool_calls)
        self.bytes += size


class Conversations:
    """Bounded caches of one worker process."""

    def __init__(
        self, transcript_bytes: int = TRANSCRIPT_BYTES, produced_bytes: int = PRODUCED_BYTES
    ) -> None:
        self._copies: OrderedDict[RunKey, Copy] = OrderedDict()
        self._produced: OrderedDict[Name, tuple[WireMessage, int]] = OrderedDict()
        self._plans: OrderedDict[str, RunPlan] = OrderedDict()
        self._transcript_room = transcript_bytes
        self._produced_room = produced_bytes
        self.hits = 0
        """Loads answered without a query."""
        self.misses = 0
        """Loads that had to ask the workflow."""

    def remember(self, key: RunKey, message: Message) -> None:
        """Keep a message that an activity of this worker is about to return to its run."""
        name, size = _measured(message)
        if (key, name) not in self._produced:
            self._produced[key, name] = (WireMessage(message), size)
            self._produced_room -= size
        self._produced.move_to_end((key, name))
        while self._produced_room < 0 and len(self._produced) > 1:
            self._take(next(iter(self._produced)))

    def remember_plan(self, plan: RunPlan) -> None:
        """Keep a plan that this worker resolved."""
        self._plans[digest(plan.model_dump_json().encode())] = plan
        while len(self._plans) > PLANS:
            self._plans.popitem(last=False)

    async def plan(self, plan_digest: str) -> RunPlan:
        """The plan of the current activity's run."""
        plan = self._plans.get(plan_digest)
        if plan is None:
            plan = await _query(QUERY_PLAN, plan_digest, RunPlan)
            self.remember_plan(plan)
            if plan_digest not in self._plans:
                raise _out_of_step("plan")
        return plan

    async def own_plan(self) -> RunPlan:
        """The plan of the current activity's run, for one that was not told its digest."""
        return await _query(QUERY_PLAN, "", RunPlan)

    async def load(
        self, key: RunKey, cursor: Cursor, tail: Sequence[str], inline: Sequence[Message]
    ) -> list[WireMessage]:
        """The messages up to `cursor`.

        Raises:
            ApplicationError: the workflow's transcript does not match the cursor (retryable).
        """
        for message in inline:
            self.remember(key, message)
        copy = self._copies.get(key) or Copy()
        if self._from_memory(key, copy, cursor, tail):
            self.hits += 1
            _count("memory")
        else:
            self.misses += 1
            _count("workflow")
            copy = await self._from_workflow(key, copy, cursor)
        self._keep(key, copy)
        return copy.messages[: cursor.count]

    def call_ids(self, key: RunKey) -> AbstractSet[str]:
        """Ids of the tool calls in the transcript that was loaded last."""
        copy = self._copies.get(key)
        return copy.call_ids if copy is not None else frozenset()

    def _from_memory(self, key: RunKey, copy: Copy, cursor: Cursor, tail: Sequence[str]) -> bool:
        """Bring the copy up to the cursor from what this worker has; False when it cannot be."""
        if len(copy.messages) >= cursor.count:
            return copy.heads[cursor.count] == cursor.head
        missing = cursor.count - len(copy.messages)
        names = tail[-missing:]
        if len(names) < missing or any((key, name) not in self._produced for name in names):
            return False
        head = copy.heads[-1]
        for name in names:
            head = chain(head, name)
        if head != cursor.head:
            return False
        for name in names:
            message, size = self._produced[key, name]
            copy.push(message, name, size)
        for name in names:  # the copy has them now; two alike are one here
            self._take((key, name))
        return True

    async def _from_workflow(self, key: RunKey, copy: Copy, cursor: Cursor) -> Copy:
        """Ask the workflow for what is missing; start over when what is here does not match."""
        if len(copy.messages) > cursor.count:
            copy = Copy()
        for known in (copy, Copy()):
            await self._fetch(key, known, cursor)
            if known.heads[cursor.count] == cursor.head:
                return known
        raise _out_of_step("transcript")

    async def _fetch(self, key: RunKey, copy: Copy, cursor: Cursor) -> None:
        while len(copy.messages) < cursor.count:
            page = await _query(QUERY_TRANSCRIPT, len(copy.messages), TranscriptPage)
            if not page.messages:
                raise _out_of_step("transcript")
            for message in page.messages[: cursor.count - len(copy.messages)]:
                name, size = _measured(message)
                known = self._take((key, name))  # perhaps with its request bytes
                copy.push(known or WireMessage(message), name, size)

    def _take(self, name: Name) -> WireMessage | None:
        message, size = self._produced.pop(name, (None, 0))
        self._produced_room += size
        return message

    def _keep(self, key: RunKey, copy: Copy) -> None:
        """Make it the newest, and let the oldest go for it."""
        earlier = self._copies.pop(key, None)
        if earlier is not None:
            self._transcript_room += earlier.counted
        self._copies[key] = copy
        copy.counted = copy.bytes
        self._transcript_room -= copy.counted
        while self._transcript_room < 0 and len(self._copies) > 1:
            _, oldest = self._copies.popitem(last=False)
            self._transcript_room += oldest.counted


def _count(source: str) -> None:
    if activity.in_activity():
        count_load(activity.metric_meter(), source)


def _measured(message: Message) -> tuple[str, int]:
    """Digest, and bytes of memory that it takes."""
    data = message.__pydantic_serializer__.to_json(message)
    return digest(data), 2 * len(data) + MESSAGE_BYTES


async def _query(name: str, argument: int | str, kind: type[T]) -> T:
    """Ask the current activity's own workflow; failures are retryable like any other.

    Sees the state at the last completed workflow task, which is the one that scheduled us.
    """
    info = activity.info()
    if info.workflow_id is None:
        msg = f"{info.activity_type} runs only inside a workflow"
        raise ApplicationError(msg, non_retryable=True)
    handle = activity.client().get_workflow_handle(info.workflow_id, run_id=info.workflow_run_id)
    answer: T | None = await handle.query(
        name, argument, result_type=kind, rpc_timeout=timedelta(seconds=QUERY_SECONDS)
    )
    if answer is None:
        raise _out_of_step(name)
    return answer


def _out_of_step(what: str) -> ApplicationError:
    """The workflow is not where the step says: a zombie attempt, or a reset in between."""
    return ApplicationError(
        f"the run's {what} is not the one this step was scheduled for", type="executus.out_of_step"
    )
