"""What is wrong with a model's arguments, in one line that the model can act on."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import ValidationError

from executus.redact import Redactor
from executus.sanitize import clean_line

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

MAX_LINE = 1_000
"""Characters of the whole."""
MAX_PROBLEM = 120
"""Characters of one problem."""
MAX_PROBLEMS = 6
"""Problems told one by one: so many that what comes after them still has room."""
NOTHING = "(it takes none)"


def problems(
    error: ValidationError, *, known: Sequence[str], secret: bool, redactor: Redactor
) -> str:
    """Every field and its problem; no value where `secret`, or where a field's name says so."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [
        clean_line(_problem(item, known=known, secret=secret, redactor=redactor), MAX_PROBLEM)
        for item in details[:MAX_PROBLEMS]
    ]
    if len(details) > MAX_PROBLEMS:
        lines.append(f"and {len(details) - MAX_PROBLEMS} more")
    if any(item["type"] == "extra_forbidden" and len(item["loc"]) == 1 for item in details):
        lines.append(f"known arguments: {', '.join(known) or NOTHING}")
    return clean_line("; ".join(lines), MAX_LINE)


def _problem(
    item: "ErrorDetails", *, known: Sequence[str], secret: bool, redactor: Redactor
) -> str:
    path = [str(part) for part in item["loc"]]
    hidden = secret or any(redactor.is_secret(part) for part in path)
    # A secret may have been written where a key belongs; only our own names are shown then.
    shown = ".".join(part for part in path if not secret or part in known or part.isdigit())
    where = redactor.text(shown) or "arguments"
    match item["type"]:
        case "extra_forbidden":
            return f"{where}: unexpected argument"
        case "missing":
            return f"{where}: missing"
        case kind if hidden and not kind.endswith("_type"):
            # A validator's own words may repeat the value it did not like.
            return f"{where}: is not valid"
        case _:
            return f"{where}: {redactor.text(item['msg'])}"
