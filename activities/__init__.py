"""Activities: everything that touches the world."""

if not __name__.startswith("executus."):  # pragma: no cover
    msg = "import executus.activities, not activities"
    raise ImportError(msg)
