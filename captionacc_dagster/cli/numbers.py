"""Numbers that people type: each option has both ends, and one that is not a number is refused as such."""

import math
from typing import Any

import click


class FiniteRange(click.FloatRange):
    """A number from ``min`` to ``max``; click's own range takes ``nan``, which is in none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number
