"""Workflow definitions: deterministic code only."""

if not __name__.startswith("executus."):  # pragma: no cover
    msg = "import executus.workflows, not workflows"
    raise ImportError(msg)
