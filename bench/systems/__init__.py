"""The systems that are compared. Only a worker imports their modules, each with its `setup`.

`request(name, ...)` says how a run of a system is started, without importing the system.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from temporalio.worker import WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from bench.work import MODEL, SYSTEM_PROMPT, TOOL_NAME, prompt

EXECUTUS, LOCAL, FLOOR = "executus", "executus-local", "floor"
RECORDS = "executus-records"
"""With audit and budget; only bench/records.py compares it, with the one that has neither."""
RIVALS = ("pydantic-ai", "openai-agents")
_MODULES = {
    EXECUTUS: "bench.systems.executus_system",
    LOCAL: "bench.systems.executus_system",
    RECORDS: "bench.systems.executus_records",
    FLOOR: "bench.systems.floor",
    "pydantic-ai": "bench.systems.pydantic_ai_system",
    "openai-agents": "bench.systems.openai_agents_system",
}
_NEEDS = {"pydantic-ai": "pydantic_ai", "openai-agents": "agents"}
RUNTIME = 3_600.0
"""Seconds a run may take before its own deadline ends it."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker of one system is made of."""

    plugins: Sequence[Any] = ()
    workflows: Sequence[Any] = ()
    activities: Sequence[Any] = ()
    close: Callable[[], Awaitable[None]] | None = None
    """Release connections."""


def available() -> list[str]:
    """Systems that this virtualenv can run, in the order in which they are measured."""
    names = [EXECUTUS, LOCAL, FLOOR, *RIVALS]
    return [name for name in names if find_spec(_NEEDS.get(name, "bench")) and _local(name)]


def _local(name: str) -> bool:
    if name != LOCAL:
        return True
    from executus.plan import ToolDef  # noqa: PLC0415 - only to see what this version can do

    return "local" in ToolDef.model_fields


def runner() -> WorkflowRunner:
    """The sandbox, which imports the modules of this bench once and not once per run, for all."""
    return SandboxedWorkflowRunner(
        restrictions=SandboxRestrictions.default.with_passthrough_modules("bench")
    )


def setup(name: str, url: str) -> Setup:
    """The system's worker; `url` is the fake provider's."""
    made: Setup = import_module(_MODULES[name]).setup(name, url)
    return made


def request(
    name: str,
    calls: int,
    size: int,
    *,
    padding: int = 0,
    compaction: bool = False,
    idle: bool = False,
) -> tuple[str, Any]:
    """Workflow type and its one argument, as JSON values."""
    text = prompt(calls, size, padding)
    if name == FLOOR:
        return "FloorRun", f"{text} [[idle]]" if idle else text
    if name == "pydantic-ai":
        return "PydanticAIRun", text
    if name == "openai-agents":
        return "OpenAIAgentsRun", text
    limits: dict[str, Any] = {} if compaction else {"compaction_ratio": 0}
    agent = {
        "name": "bench",
        "system_prompt": SYSTEM_PROMPT,
        "model_tier": f"openai/{MODEL}",
        "tools": [TOOL_NAME],
        "max_iterations": calls + 1,
        "max_runtime": RUNTIME,
        "limits": limits,
    }
    return "executus.AgentRun", {"agent": agent, "invocation": {"prompt": text}}
