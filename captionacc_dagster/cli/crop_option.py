"""The option for a crop region, as fractions of the frame or in pixels."""

import math
from typing import Annotated

import typer

CropOption = Annotated[
    str | None,
    typer.Option(
        "--crop-region",
        metavar="LEFT,TOP,RIGHT,BOTTOM",
        help="where the captions are, as fractions of the frame (0 to 1) or in pixels; default: found",
    ),
]


def parse_crop(text: str | None) -> tuple[float, float, float, float] | None:
    """Return the four sides; values above 1 are pixels. Raises ``typer.BadParameter`` for a bad rectangle."""
    if text is None:
        return None
    try:
        left, top, right, bottom = (float(part) for part in text.split(","))
    except ValueError:
        raise _bad(text, "is not four numbers separated by commas") from None
    if not all(map(math.isfinite, (left, top, right, bottom))) or min(left, top) < 0:
        raise _bad(text, "has a side outside of the frame")
    if left >= right or top >= bottom:
        raise _bad(text, "is empty: left must be less than right, and top less than bottom")
    if max(right, bottom) > 1 and any(side != int(side) for side in (left, top, right, bottom)):
        raise _bad(text, "is neither fractions from 0 to 1 nor whole pixels")
    return left, top, right, bottom


def _bad(text: str, reason: str) -> typer.BadParameter:
    return typer.BadParameter(f"{text} {reason}", param_hint="--crop-region")
