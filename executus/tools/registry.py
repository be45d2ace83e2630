"""Registry: the tools of a host, and the grant of some of them to one run."""

from collections.abc import Iterable, Iterator, Sequence

from executus.agent import Visibility
from executus.errors import ConfigError
from executus.plan import ToolDef
from executus.sanitize import clean_line
from executus.tools.caller import Caller
from executus.tools.tool import Tool

MAX_LISTED = 50
"""Names in one message."""


class UnknownTool(ConfigError):
    """Names that this caller's agent cannot have: not registered, or hidden from them.

    Which of the two it is, nobody is told: the message is the same, byte for byte.
    """

    def __init__(self, names: Sequence[str], visible: Sequence[str]) -> None:
        known = ", ".join(visible[:MAX_LISTED]) or "none"
        if len(visible) > MAX_LISTED:
            known += f" and {len(visible) - MAX_LISTED} more"
        listed = ", ".join(repr(clean_line(name, 64)) for name in names[:MAX_LISTED])
        super().__init__(
            f"unknown tool{'s' if len(names) > 1 else ''} {listed}; tools this agent may have:"
            f" {known}; correct the agent's `tools`, or register the tool on the worker for this"
            " caller and for the agent's visibility"
        )
        self.names = tuple(names)


class Registry:
    """Tools by name. Immutable once made, so all runs of a worker may share it."""

    def __init__(self, tools: Iterable[Tool] = ()) -> None:
        """Register `tools`.

        Raises:
            ConfigError: for two of one name, and for what is not a Tool.
        """
        self._tools: dict[str, Tool] = {}
        for item in tools:
            if not isinstance(item, Tool):  # pyright: ignore[reportUnnecessaryIsInstance] - for callers without a type checker
                raise ConfigError(f"{item!r} is not a tool: decorate it with @tool")
            if item.name in self._tools:
                msg = f'two tools are called {item.name!r}: rename one with @tool(name="...")'
                raise ConfigError(msg)
            self._tools[item.name] = item

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools.values())

    def __len__(self) -> int:
        return len(self._tools)

    def __repr__(self) -> str:
        return f"Registry({list(self._tools)})"

    def get(self, name: str) -> Tool | None:
        """The tool called `name`, whoever asks; None when there is none."""
        return self._tools.get(name)

    def visible(self, caller: Caller, visibility: Visibility) -> dict[str, Tool]:
        """The tools that this caller's agent with this audience may know of, by name."""
        return {tool.name: tool for tool in self if tool.admits(caller, visibility)}

    def grant(
        self,
        names: Iterable[str],
        *,
        caller: Caller,
        visibility: Visibility,
        default_result_bytes: int,
        others: Sequence[str] = (),
    ) -> tuple[ToolDef, ...]:
        """The named tools in the order given, each once, for an agent with this audience.

        `others`: what the agent may name besides, for the message.

        Raises:
            UnknownTool: when one is not registered, or hidden from this caller or audience.
        """
        visible = self.visible(caller, visibility)
        wanted = tuple(dict.fromkeys(names))
        unknown = [name for name in wanted if name not in visible]
        if unknown:
            raise UnknownTool(unknown, [*sorted(visible), *others])
        return tuple(visible[name].definition(default_result_bytes) for name in wanted)
