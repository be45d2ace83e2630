"""Texts, names and run ids on the command line: what is none is a wrong call, by its name."""

from typing import Any

import click

from executus.steer import MAX_BY

MAX_SHOWN = 40
"""Characters of a refused text that its error repeats."""
MAX_ID = 1_000
"""Characters of a workflow id or task queue: Temporal's own bound."""


class Text(click.ParamType[str]):
    """A text that can be sent and stored: UTF-8, and not blank unless `blank`."""

    name = "text"

    def __init__(self, *, blank: bool = False, most: int | None = None) -> None:
        self.blank = blank
        """Whether it may say nothing. A script whose variable is not set gives an empty one."""
        self.most = most
        """Characters it may have; None: no bound of its own."""

    def convert(
        self,
        value: Any,  # noqa: ANN401 - what click hands over
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str:
        """The text itself; click's own error otherwise."""
        text = str(value)
        try:
            text.encode()
        except UnicodeEncodeError:  # Python keeps what is not UTF-8 as lone surrogates
            self.fail(f"{text[:MAX_SHOWN]!a} is not UTF-8", param, ctx)
        if not self.blank and not text.strip():
            self.fail("it is empty; is a variable not set?", param, ctx)
        if self.most is not None and len(text) > self.most:
            self.fail(f"it has {len(text):,} characters; the limit is {self.most:,}", param, ctx)
        return text


TEXT = Text()
ANY_TEXT = Text(blank=True)
NAME = Text(most=MAX_BY)
ID = Text(most=MAX_ID)
