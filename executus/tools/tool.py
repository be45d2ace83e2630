"""The `@tool` decorator, and the Tool it makes of a typed function."""

import inspect
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, overload

from pydantic import JsonValue, ValidationError
from typing_extensions import ParamSpec, TypeVar

from executus.agent import Visibility
from executus.digest import digest
from executus.errors import ConfigError
from executus.files import READ_MORE
from executus.images import MAX_IMAGE_BYTES
from executus.plan import Effect, ToolDef
from executus.redact import Redactor
from executus.sanitize import clean_line, clean_text
from executus.tools.caller import WIDTH, Caller, Callers, admits, checked_callers, safe_for
from executus.tools.docstring import describe
from executus.tools.schema import Takes, arguments_of

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
"""What OpenAI and Anthropic both accept."""
RESERVED = frozenset({"ask_human", READ_MORE, "run_status", "skill_use"})
"""Names of tools that executus itself may give to a run."""
OWN = ("executus.tools.", "executus.activities.")
"""Modules whose functions may have a reserved name."""
MIN_RESULT, MAX_RESULT = 256, 524_288
"""Bounds of `result_bytes`, as in `executus.limits.Limits`."""

LOCAL_SECONDS = 1.0
"""Longest a local tool may take: queries, signals and cancels wait for it."""

P = ParamSpec("P", default=...)
R = TypeVar("R", default=Any)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Tool(Generic[P, R]):
    """A function that a model may call. Calling the object calls the function itself."""

    function: Callable[P, R]
    """As written."""
    name: str
    """Its activity is `tool.<name>`."""
    description: str
    """For the model."""
    arguments: Takes
    """Its arguments and their schema."""
    effect: Effect
    """What running it again would mean."""
    timeout: float
    """Seconds one attempt may take."""
    result_bytes: int | None
    """Bytes of its result that enter the transcript; None = the run's own."""
    visibility: Visibility
    """The widest audience of agents that it is safe for."""
    task_queue: str | None
    """Task queue of the workers that have it."""
    attempts: int
    """Attempts for `pure` and `idempotent` tools."""
    secret_arguments: bool
    """Arguments are hidden from summaries, the summariser and the audit."""
    digest: str
    """Digest of name, description and parameters."""
    local: bool = False
    """Runs inside the workflow task."""
    requires_approval: bool = False
    """A person has to say yes to each call."""
    image_bytes: int = 0
    """Bytes of the images that one call may attach; 0 = none."""
    _callers: Callers = field(default=None)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"Tool({self.name!r}, effect={self.effect!r}, visibility={self.visibility!r})"

    def admits(self, caller: Caller, visibility: Visibility) -> bool:
        """Whether this caller's agent with this audience may know of it."""
        return safe_for(self.visibility, visibility) and admits(self._callers, caller)

    def parse(self, text: str, redactor: Redactor) -> dict[str, Any]:
        """Validated arguments from the model's text.

        Raises:
            ArgumentsError: one line for the model.
        """
        return self.arguments.parse(text, secret=self.secret_arguments, redactor=redactor)

    def definition(self, default_result_bytes: int) -> ToolDef:
        """The tool as plain data, for a run whose own bound is `default_result_bytes`."""
        return ToolDef(
            name=self.name,
            description=self.description,
            parameters=self.arguments.schema,
            digest=self.digest,
            effect=self.effect,
            timeout=self.timeout,
            result_bytes=self.result_bytes or default_result_bytes,
            attempts=self.attempts,
            task_queue=self.task_queue,
            secret_arguments=self.secret_arguments,
            local=self.local,
            requires_approval=self.requires_approval,
            image_bytes=self.image_bytes,
        )


@overload
def tool(function: Callable[P, R], /) -> Tool[P, R]: ...


@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    effect: Effect = "once",
    timeout: float | None = None,
    result_bytes: int | None = None,
    visibility: Visibility = "private",
    callers: Callers = None,
    task_queue: str | None = None,
    attempts: int = 3,
    secret_arguments: bool = False,
    local: bool = False,
    requires_approval: bool = False,
    image_bytes: int = 0,
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...


def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    effect: Effect = "once",
    timeout: float | None = None,
    result_bytes: int | None = None,
    visibility: Visibility = "private",
    callers: Callers = None,
    task_queue: str | None = None,
    attempts: int = 3,
    secret_arguments: bool = False,
    local: bool = False,
    requires_approval: bool = False,
    image_bytes: int = 0,
) -> Any:
    """Make a tool of a typed function, async or sync (a sync one runs in a thread).

    Args:
        function: The function, when used without parentheses.
        name: What the model calls it; the function's own name by default.
        description: What it does; the docstring above its first section by default.
        effect: pure (no effect), idempotent (again with the same key is harmless) or once.
        timeout: Seconds one attempt may take; 60 by default, 1 for a local tool.
        result_bytes: Bytes of its result that enter the transcript; None = the run's own bound.
        visibility: The widest audience of agents that it is safe for.
        callers: Caller ids that may know of it, or a predicate on a Caller; None = everybody.
        task_queue: Task queue of the workers that have it; None = the run's own.
        attempts: Attempts it may have, when its effect allows more than one.
        secret_arguments: Hide its arguments from summaries and the audit.
        local: Run it inside the workflow task: one event in history instead of six. Only for pure
            tools that take at most a second; it cannot heartbeat, nor be cancelled.
        requires_approval: Each call waits for a person's yes (`executus approve`).
        image_bytes: Bytes of the images that one call may attach or return, at most 600,000. Few
            such calls run at the same time: their results must fit into one workflow task.

    Raises:
        ConfigError: for a signature, name or option that cannot work.
    """

    def decorate(target: Callable[..., Any]) -> Tool[..., Any]:
        own = _checked_name(name if name is not None else getattr(target, "__name__", ""), target)
        _refuse_generator(target, own)
        docs = describe(target.__doc__)
        text = clean_text(docs.summary if description is None else description)
        arguments = arguments_of(target, own, docs.parameters)
        made = Tool(
            function=target,
            name=own,
            description=text,
            arguments=arguments,
            effect=effect,
            timeout=timeout if timeout is not None else (LOCAL_SECONDS if local else 60.0),
            result_bytes=result_bytes,
            visibility=visibility,
            task_queue=task_queue,
            attempts=attempts,
            secret_arguments=secret_arguments,
            local=local,
            requires_approval=requires_approval,
            image_bytes=image_bytes,
            digest=definition_digest(own, text, arguments.schema),
            _callers=checked_callers(callers),
        )
        _check_options(made)
        return made

    return decorate if function is None else decorate(function)


def definition_digest(name: str, description: str, parameters: dict[str, JsonValue]) -> str:
    """Digest of what a model is shown of a tool."""
    value = {"description": description, "name": name, "parameters": parameters}
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return digest(text.encode("utf-8"))


def _checked_name(name: str, function: Callable[..., Any]) -> str:
    if not NAME.fullmatch(name):
        msg = (
            f"tool name {clean_line(name, 80)!r}: must be 1 to 64 of a-z, A-Z, 0-9, _ and -;"
            ' give one with @tool(name="...")'
        )
        raise ConfigError(msg)
    if name in RESERVED and not str(getattr(function, "__module__", "")).startswith(OWN):
        raise ConfigError(
            f'tool name {name!r} is reserved; give another one with @tool(name="...")'
        )
    return name


def _refuse_generator(function: Callable[..., Any], name: str) -> None:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigError(f"tool {name}: a generator has no result: return a text or a list")


def _check_options(made: Tool[..., Any]) -> None:
    """Refuse now what would fail when a run is planned."""
    if made.visibility not in WIDTH:
        raise ConfigError(f"tool {made.name}: visibility must be one of {', '.join(WIDTH)}")
    if not math.isfinite(made.timeout):
        raise ConfigError(f"tool {made.name}: timeout must be a finite number of seconds")
    if made.local and (made.effect != "pure" or made.timeout > LOCAL_SECONDS or made.task_queue):
        msg = (
            f"tool {made.name}: a local tool runs inside the workflow task: it must be pure, take "
            f"at most {LOCAL_SECONDS:g} s and have no task queue of its own; drop local=True, or "
            'give it effect="pure"'
        )
        raise ConfigError(msg)
    if not 0 <= made.image_bytes <= MAX_IMAGE_BYTES or (made.image_bytes and made.local):
        msg = f"tool {made.name}: image_bytes must be 0 to {MAX_IMAGE_BYTES:,}, 0 if it is local"
        raise ConfigError(msg)
    size = made.result_bytes
    if size is not None and not MIN_RESULT <= size <= MAX_RESULT:
        msg = f"tool {made.name}: result_bytes must be {MIN_RESULT:,} to {MAX_RESULT:,}"
        raise ConfigError(msg)
    try:
        made.definition(MIN_RESULT)
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        field_name = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"tool {made.name}: {field_name}: {first['msg']}") from None
