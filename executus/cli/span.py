"""A length of time on the command line: `90d`, `12h`, `30m`, `45s`."""

import re
from datetime import timedelta
from typing import Any

import click

MAX_SPAN = timedelta(days=365_250)
"""A thousand years: a time so long ago is a date still."""
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Span(click.ParamType[timedelta]):
    """Turns `90d` into a timedelta."""

    name = "span"

    def convert(
        self,
        value: Any,  # noqa: ANN401 - what click hands over
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> timedelta:
        """Parse it; click's own error otherwise."""
        if isinstance(value, timedelta):
            return value
        match = re.fullmatch(r"(\d{1,6})([smhdw])", str(value))
        if match is None:
            self.fail(f"`{value}` is not a time span; write 90d, 12h, 30m or 45s", param, ctx)
        span = timedelta(**{UNITS[match[2]]: int(match[1])})
        if span > MAX_SPAN:
            self.fail(f"`{value}` is longer than 1000 years", param, ctx)
        return span


SPAN = Span()
