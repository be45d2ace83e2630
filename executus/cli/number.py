"""Numbers on the command line."""

import math
from typing import Any

import click


class Positive(click.FloatRange):
    """A finite number above 0: click's own range lets NaN and infinity through."""

    def __init__(self) -> None:
        super().__init__(min=0, min_open=True)

    def convert(
        self,
        value: Any,  # noqa: ANN401 - what click hands over
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        """Parse it; click's own error otherwise."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


POSITIVE = Positive()
