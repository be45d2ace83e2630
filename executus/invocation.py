"""Invocation: who asks, and for what."""

from pydantic import Field, JsonValue

from executus.data import Record
from executus.delivery_target import DeliveryTarget
from executus.files import DroppedFile, FileRef
from executus.message import ImagePart, InputFile

ID_PATTERN = r"^[^\x00-\x1f\x7f]*$"


class Invocation(Record):
    """One envelope that attributes tools, audit and budget to a caller.

    Identity comes from here only, never from what a model writes into tool arguments.
    """

    prompt: str = Field(default="", max_length=900_000)
    """What the run is asked."""
    run_id: str | None = Field(default=None, min_length=1, max_length=255, pattern=ID_PATTERN)
    """The run's id, which is its workflow id. `Runs` generates one when it is None; starting the
    same id twice gives the same run."""
    caller_id: str = Field(default="anonymous", min_length=1, max_length=255, pattern=ID_PATTERN)
    """Who asks: the scope of per-caller budgets and of tool visibility."""
    tenant_id: str = Field(default="", max_length=255, pattern=ID_PATTERN)
    """The caller's organisation; the scope of per-tenant budgets."""
    channel_id: str = Field(default="", max_length=255, pattern=ID_PATTERN)
    """Where it was asked (a chat room, a cron job); recorded."""
    priority: int | None = Field(default=None, ge=1, le=5)
    """1 goes first, 5 last; None = 3. Among equals, tenants (or callers) take turns."""
    parent_run_id: str | None = Field(default=None, max_length=255, pattern=ID_PATTERN)
    """The run that started this one; recorded."""
    inputs: dict[str, JsonValue] = Field(default_factory=dict)
    """Named values: shown to the model below the prompt, recorded in the audit."""
    images: tuple[ImagePart, ...] = Field(default=(), max_length=32)
    """Folded into the opening user message."""
    delivery: DeliveryTarget | None = None
    """Where the outcome goes, whatever it is; None = the caller reads the result. Whether it
    arrives never changes the run."""
    files: tuple[InputFile | FileRef, ...] = Field(default=(), max_length=32)
    """With a file store, kept there and described to the model, which reads them by tool; without,
    folded into the opening user message. By value they must fit into the request:
    `Runs(client, files=...)` brings larger ones into the store first."""
    dropped_files: tuple[DroppedFile, ...] = Field(default=(), max_length=64)
    """Files that a client could not bring into the store: the model is told."""
