"""The scripted job that every system does: K times read a page, then answer.

The prompt says how many calls and how large their results are, the fake provider reads it
there, and the tool gives text of that size. Same model name, same tool, same bytes
for every system.
"""

import random

MODEL = "gpt-4.1"
SYSTEM_PROMPT = "You read pages until you have seen them all, then you answer."
TOOL_NAME = "page"
TOOL_DOC = "A page of text."
ANSWER = "All pages are read."
LONGEST = 1_000_000

_WORDS = random.Random(7)  # noqa: S311 - text, not a secret
_POOL = "".join(_WORDS.choices("abcdefghijklmnopqrstuvwxyz      0123456789,.", k=200_000))
# Room for any slice: text of LONGEST characters from any start.
_POOL *= LONGEST // len(_POOL) + 2


def prompt(calls: int, size: int, padding: int = 0) -> str:
    """What is asked: `calls` calls with results of `size` characters, `padding` more in front."""
    text = f"[[calls={calls} size={size}]] Read the pages, one at a time."
    return text + page_text(0, padding) if padding else text


def page_text(number: int, size: int) -> str:
    """Text of `size` characters, other ones for each number, that gzip hardly shrinks."""
    start = number * 7_919 % 200_000
    head = f"{number}:"
    return (head + _POOL[start : start + size])[: max(size, 1)]
