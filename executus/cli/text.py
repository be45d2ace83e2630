"""Texts, names and run ids on the command line: what is none is a wrong call, by its name."""

import unicodedata
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

    def __init__(
        self, *, blank: bool = False, most: int | None = None, controls: bool = True
    ) -> None:
        self.blank = blank
        """Whether it may say nothing. A script whose variable is not set gives an empty one."""
        self.most = most
        """Characters it may have; None: no bound of its own."""
        self.controls = controls
        """Whether it may hold control characters: a name is shown in lines and in terminals."""

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
        if not self.controls and any(unicodedata.category(c) == "Cc" for c in text):
            self.fail(f"{text[:MAX_SHOWN]!a} has control characters", param, ctx)
        return text


TEXT = Text()
ANY_TEXT = Text(blank=True)
LINE = Text(controls=False)
NAME = Text(most=MAX_BY, controls=False)
ID = Text(most=MAX_ID, controls=False)
