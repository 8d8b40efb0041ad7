"""The option for a crop region, as fractions of the frame or in pixels."""

from typing import Annotated

import typer

from captionacc_dagster.cli.usage import usage_error
from modal_gpu.errors import CaptionAccError

CropOption = Annotated[
    str | None,
    typer.Option(
        "--crop-region",
        metavar="LEFT,TOP,RIGHT,BOTTOM",
        help="where the captions are, as fractions of the frame (0 to 1) or in pixels; default: found",
    ),
]


def parse_crop(text: str | None) -> tuple[float, float, float, float] | None:
    """Return the four sides; with one above 1, all are pixels. Raises a usage error for a bad rectangle."""
    if text is None:
        return None
    from captionacc_dagster.operations.regions import check_sides

    try:
        left, top, right, bottom = (float(part) for part in text.split(","))
    except ValueError:
        raise usage_error(f"--crop-region {text} is not four numbers separated by commas") from None
    try:
        check_sides((left, top, right, bottom))
    except CaptionAccError as error:
        raise usage_error(f"--crop-region {text}: {error}") from None
    return left, top, right, bottom
