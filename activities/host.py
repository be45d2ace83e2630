"""Host: what the activities of one worker work with."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from executus.agent import RunnableAgent
from executus.limits import Defaults
from executus.mcp.source import McpSource
from executus.models.registry import Models
from executus.packs import Packs
from executus.ports import Ports
from executus.question import ApprovalRule
from executus.redact import Redactor
from executus.tools import Registry
from executus.tools.context import Secrets


@dataclass(frozen=True, slots=True)
class Host:
    """A host's composition; immutable, shared by all runs of the worker."""

    models: Models
    """Providers, tiers, health, prices."""
    tools: Registry
    """Every tool this worker has."""
    mcp: McpSource = field(default_factory=McpSource)
    """MCP servers whose tools agents may name."""
    agents: Mapping[str, RunnableAgent] = field(default_factory=dict[str, RunnableAgent])
    """Agents that may be started by name."""
    packs: Packs = field(default_factory=Packs)
    """Skill packs that agents may name."""
    ports: Ports = field(default_factory=Ports)
    """Audit, budget, files, delivery, dead letters."""
    defaults: Defaults = field(default_factory=Defaults)
    """What holds where an agent says nothing."""
    system_header: str = ""
    """Goes above every agent's own prompt."""
    secrets: Secrets = field(default_factory=Secrets, repr=False)
    """Secrets that tools may ask for by name. They stay in this process."""
    approvals: tuple[ApprovalRule, ...] = ()
    """Tool calls of any agent that need a person's yes."""
    redactor: Redactor = field(default_factory=Redactor)
    """Hides secrets in summaries and in what the summariser is shown."""
