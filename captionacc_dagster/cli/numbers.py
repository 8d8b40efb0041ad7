"""Number options: each range has both ends, and ``nan`` is refused."""

import math
from typing import Any

import click


class FiniteRange(click.FloatRange):
    """A number from ``min`` to ``max``. Unlike click's range, it refuses ``nan``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number
