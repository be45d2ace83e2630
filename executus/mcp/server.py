"""McpServer: what a host declares of an MCP server."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, field_validator, model_validator

from executus.addresses import is_public, named_networks, parse_networks
from executus.agent import Visibility
from executus.data import Data
from executus.errors import ConfigError
from executus.images import MAX_IMAGE_BYTES
from executus.plan import Effect
from executus.redact import Redactor
from executus.tools import Caller
from executus.tools.caller import Callers, admits, checked_callers, safe_for

NAME_PATTERN = r"^[A-Za-z0-9]+(?:[-_][A-Za-z0-9]+)*$"
"""No `__` and no `_` at the end: `<server>__<tool>` then names its server without doubt."""
MAX_SERVER_NAME = 32
"""Leaves 30 characters of a model's 64 for the tool."""
RESERVED = frozenset({"agent", "skill"})
"""Prefixes of tools that executus itself makes."""
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")
CONNECT_SECONDS = 10.0
CALL_SECONDS = 60.0
IDLE_SECONDS = 300.0
LISTING_SECONDS = 30.0


class McpServer(Data):
    """A server that agents may name in their `tools`: `mcp:<name>` or `mcp:<name>/<tool>`.

    It is a program (`command`) or an address (`url`). In `env` and `headers`, `${NAME}` stands for
    the variable NAME of the worker's environment: it is read when the server is connected, and its
    value is hidden in everything that the server's tools return.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    name: str = Field(max_length=MAX_SERVER_NAME, pattern=NAME_PATTERN)
    """Its tools are `<name>__<tool>` for the model."""
    command: str | None = Field(default=None, min_length=1)
    """Program that speaks MCP on stdin and stdout: a path, or a name on the worker's PATH."""
    args: tuple[str, ...] = ()
    """Its arguments."""
    cwd: Path | None = None
    """Folder it is started in; None = the worker's."""
    inherit: tuple[str, ...] = ()
    """Names of variables that it gets of the worker's environment. None by default, not even
    PATH or HOME."""
    env: dict[str, str] = Field(default_factory=dict)
    """Variables that are set for it."""
    url: str | None = None
    """Address of a server that speaks streamable HTTP."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Sent with every request to `url`."""
    networks: tuple[str, ...] = ()
    """Networks that are not public where the name in `url` may lead, such as `10.0.0.0/8`. An
    address, or `localhost`, that stands in `url` itself needs none."""
    optional: bool = False
    """Whether a run that names it goes on without it when it does not answer; the model is told."""
    trust_annotations: bool = False
    """Believe `readOnlyHint` (effect pure) and `idempotentHint` (effect idempotent): those tools
    are then called again when an attempt is lost. Otherwise a tool without an entry in `effects`
    is called once."""
    effects: dict[str, Effect] = Field(default_factory=dict)
    """Effect of a tool by the name that the server gives it; stronger than any annotation."""
    timeout: float = Field(default=CALL_SECONDS, gt=0, le=86_400)
    """Seconds one attempt of a call may take, connecting included."""
    attempts: int = Field(default=3, gt=0, le=20)
    """Attempts for its `pure` and `idempotent` tools."""
    connect_seconds: float = Field(default=CONNECT_SECONDS, gt=0, le=45)
    """Seconds it gets to start and to answer; an `npx` that downloads first needs more."""
    idle_seconds: float = Field(default=IDLE_SECONDS, gt=0, le=86_400)
    """Seconds without a call after which a worker closes its connection, or ends its program."""
    listing_seconds: float = Field(default=LISTING_SECONDS, ge=0, le=86_400)
    """Age at which its list of tools is read again before a call; 0 = before each."""
    result_bytes: int | None = Field(default=None, ge=256, le=524_288)
    """Bytes of one result that enter the transcript; None = the run's own bound."""
    image_bytes: int = Field(default=0, ge=0, le=MAX_IMAGE_BYTES)
    """Bytes of images of one call that the model is shown; 0 = none. What is not shown is a file
    of the run, where the host keeps files."""
    secret_arguments: bool = True
    """Hide the arguments of its calls from summaries, the summariser and the audit."""
    requires_approval: bool = False
    """Every call of it waits for a person's yes; for some of its tools, use an `ApprovalRule`."""
    visibility: Visibility = "private"
    """The widest audience of agents that its tools are safe for."""
    callers: Any = None
    """Caller ids that may know of it, or a predicate on a Caller; None = everybody."""
    task_queue: str | None = None
    """Task queue of the workers that call it; None = the run's own. The worker that plans the run
    must reach it too."""

    @property
    def variables(self) -> frozenset[str]:
        """Variables of the worker's environment that are secrets here."""
        texts = (*self.env.values(), *self.headers.values())
        named = {name for text in texts for name in VARIABLE.findall(text)}
        redactor = Redactor()
        return frozenset(named | {name for name in self.inherit if redactor.is_secret(name)})

    @property
    def written(self) -> tuple[tuple[str, str], ...]:
        """Secrets that stand here themselves, as in the files of other programs, with their names.

        Of `Bearer <token>` the token too: a server may quote it alone.
        """
        redactor = Redactor()
        named = [
            (name, value)
            for name, value in (*self.env.items(), *self.headers.items())
            if redactor.is_secret(name) and not VARIABLE.search(value)
        ]
        return (*named, *((name, value.partition(" ")[2]) for name, value in named))

    def admits(self, caller: Caller, visibility: Visibility) -> bool:
        """Whether this caller's agent with this audience may know of it."""
        return safe_for(self.visibility, visibility) and admits(self.callers, caller)

    @field_validator("callers", mode="before")
    @classmethod
    def _check_callers(cls, value: Any) -> Callers:  # noqa: ANN401 - a before validator sees raw input
        try:
            return checked_callers(value)
        except ConfigError as error:
            raise ValueError(str(error)) from None

    @model_validator(mode="after")
    def _check(self) -> Self:
        problem = next(self._problems(), None)
        if problem is not None:
            raise ValueError(f"MCP server `{self.name}`: {problem}")
        return self

    def _problems(self) -> Iterator[str]:
        if self.name in RESERVED:
            yield "this name is taken by tools of executus itself; choose another"
        if (self.command is None) == (self.url is None):
            yield "give either `command` (a program) or `url` (streamable HTTP)"
        if self.url is None:
            yield from (f"`{n}` needs a `url`" for n in ("headers", "networks") if getattr(self, n))
        if self.url is not None:
            program = {"args", "cwd", "inherit", "env"} & self.model_fields_set
            yield from (f"`{name}` needs a `command`" for name in sorted(program))
            yield from _url_problems(self.url)
            yield from _egress_problems(self)
        yield from _name_problems(self)


def _url_problems(url: str) -> Iterator[str]:
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme not in {"http", "https"} or not host:
        yield "`url` must be http(s)://host/path"
    if "@" in parts.netloc or VARIABLE.search(url):
        yield "`url` must not hold a secret, since addresses are logged: use `headers`"


def _egress_problems(server: McpServer) -> Iterator[str]:
    try:
        parse_networks(server.networks)
    except ConfigError as error:
        yield f"`networks`: {error}"
    parts = urlsplit(server.url or "")
    own = (str(network[0]) for network in named_networks(parts.hostname or ""))
    inside = server.networks or any(not is_public(address) for address in own)
    if parts.scheme == "http" and server.variables and not inside:
        yield "a secret in `headers` needs https, or `networks` of your own that it stays in"


def _name_problems(server: McpServer) -> Iterator[str]:
    for name in (*server.inherit, *server.env):
        if not ENVIRONMENT_NAME.fullmatch(name):
            yield f"{name!r} is no name of an environment variable"
    if both := sorted(set(server.inherit) & set(server.env)):
        yield f"{', '.join(both)}: both in `inherit` and in `env`"
    for name, value in server.headers.items():
        if not HEADER_NAME.fullmatch(name) or not HEADER_VALUE.fullmatch(value):
            yield f"{name!r} is no name of an HTTP header, or its value is none"
    if any("\0" in text for text in (server.command or "", *server.args, *server.env.values())):
        yield "a program's arguments cannot hold NUL"
