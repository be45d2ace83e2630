"""The ports in memory, for tests and demos; inspectable by the same reads as the SQL stores."""

from executus.stores.memory_audit import MemoryAudit
from executus.stores.memory_budget import MemoryBudget
from executus.stores.memory_letters import MemoryLetters

__all__ = ["MemoryAudit", "MemoryBudget", "MemoryLetters"]
