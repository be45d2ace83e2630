"""Arithmetic without `eval`: a small part of Python's grammar over decimals, bounded in size."""

import ast
import operator
import re
from collections.abc import Callable, Sequence
from decimal import Context, Decimal, DecimalException, Inexact, localcontext

from executus.tools import ToolError

MAX_TEXT = 4_000
"""Characters of an expression."""
MAX_DEPTH = 100
"""Levels of an expression's tree; a chain of n additions has n levels."""
MAX_EXPONENT = 1_000
DIGITS = 100
"""Significant digits of every step."""
SHOWN_DIGITS = 20
"""Significant digits shown of a result that had to be rounded."""
LARGEST = 10_000
"""Digits beyond which a step fails as too large."""

BINARY: dict[type[ast.operator], Callable[[Decimal, Decimal], Decimal]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: lambda a, b: a / b,
    ast.FloorDiv: lambda a, b: (a / b).to_integral_value(rounding="ROUND_FLOOR"),
    ast.Mod: lambda a, b: a - b * (a / b).to_integral_value(rounding="ROUND_FLOOR"),
}
WORD = re.compile(r"[^\W\d]\w*")
ALLOWED = re.compile(r"[\w .,+\-*/%()]*", re.ASCII)
GLUED = re.compile(r"\d(?![eE][+-]?\d)[a-zA-Z]|\d_")
GROUPED = re.compile(r"\b\d{1,3}(?:,\d{3})+\b(?!\s*\))")


def evaluate(expression: str) -> str:
    """The value of an arithmetic expression: + - * / // % **, parentheses and a few functions.

    Decimal, so 0.1 + 0.2 is 0.3.

    Raises:
        ToolError: for anything else, a division by zero, or a number out of bounds.
    """
    source = " ".join(expression.split())
    tree = _parsed(source)
    with localcontext(Context(prec=DIGITS, Emax=LARGEST, Emin=-LARGEST)) as context:
        try:
            value = _value(tree, source, 0)
            return _shown(value, exact=not context.flags[Inexact])
        except ZeroDivisionError:
            raise ToolError("division by zero") from None
        except DecimalException:
            raise ToolError("no result: a number is too large, or undefined") from None


def _parsed(expression: str) -> ast.expr:
    """The tree. Refused before parsing: what could make the parser warn or run long."""
    if len(expression) > MAX_TEXT:
        raise ToolError(f"the expression has more than {MAX_TEXT:,} characters")
    unknown = sorted(set(WORD.findall(re.sub(r"\d[eE]", "0", expression))) - set(FUNCTIONS))
    if unknown:
        known = ", ".join(FUNCTIONS)
        raise ToolError(f'unknown name "{unknown[0][:40]}"; known functions: {known}')
    if not ALLOWED.fullmatch(expression) or GLUED.search(expression):
        raise ToolError("only numbers, + - * / // % **, parentheses and functions are allowed")
    try:
        return ast.parse(expression, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        hint = "; write 1000 for 1,000" if GROUPED.search(expression) else ""
        raise ToolError(f"the expression is not complete arithmetic{hint}") from None


def _value(node: ast.expr, source: str, depth: int) -> Decimal:
    if depth > MAX_DEPTH:
        raise ToolError(f"nested deeper than {MAX_DEPTH} levels; use sum(a, b, ...) for long sums")
    match node:
        case ast.Constant(value=int() | float()):
            return _number(node, source)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, source, depth + 1)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand, source, depth + 1)
        case ast.BinOp(left=left, op=op, right=right):
            return _binary(op, _value(left, source, depth + 1), _value(right, source, depth + 1))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
            return _call(name, [_value(arg, source, depth + 1) for arg in args])
        case ast.Tuple():
            raise ToolError("a comma may only part arguments; write 1000 for 1,000")
        case _:
            raise ToolError("only numbers, operators and functions are allowed")


def _number(node: ast.Constant, source: str) -> Decimal:
    # From the text: a float would already have lost digits.
    text = ast.get_source_segment(source, node)
    return +Decimal(text if text is not None else repr(node.value))


def _binary(op: ast.operator, left: Decimal, right: Decimal) -> Decimal:
    if isinstance(op, ast.Pow):
        if abs(right) > MAX_EXPONENT:
            raise ToolError(f"an exponent is larger than {MAX_EXPONENT:,}")
        return left**right
    # The character filter leaves exactly these operators.
    return BINARY[type(op)](left, right)


def _call(name: str, values: Sequence[Decimal]) -> Decimal:
    function, least, most = FUNCTIONS[name]
    if not least <= len(values) <= most:
        raise ToolError(f"{name}() does not take {len(values)} arguments")
    return function(*values)


def _sum(*values: Decimal) -> Decimal:
    return sum(values, Decimal(0))


def _average(*values: Decimal) -> Decimal:
    return _sum(*values) / len(values)


def _round(value: Decimal, digits: Decimal = Decimal(0)) -> Decimal:
    if abs(digits) >= DIGITS:
        raise ToolError(f"round() takes fewer than {DIGITS} digits")
    return round(value, int(digits))


MANY = 2_000
FUNCTIONS: dict[str, tuple[Callable[..., Decimal], int, int]] = {
    "abs": (Decimal.copy_abs, 1, 1),
    "average": (_average, 1, MANY),
    "max": (lambda *values: max(values), 1, MANY),
    "min": (lambda *values: min(values), 1, MANY),
    "round": (_round, 1, 2),
    "sqrt": (Decimal.sqrt, 1, 1),
    "sum": (_sum, 1, MANY),
}
"""Name -> function, and how many numbers it takes."""


def _shown(value: Decimal, *, exact: bool) -> str:
    if not value.is_finite():
        raise ToolError("division by zero")
    value = (value if exact else Context(prec=SHOWN_DIGITS).plus(value)).normalize()
    if value == 0:
        return "0"
    return f"{value:f}" if -SHOWN_DIGITS < value.adjusted() < DIGITS else f"{value:e}"
