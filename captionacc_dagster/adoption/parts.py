"""The parts of a video, and the outcome for each."""

from dataclasses import dataclass
from typing import Literal

PartName = Literal["upload", "full_frames", "ocr", "layout", "chunks", "extents", "captions", "text"]
#: ``as_is``: copied without a change; ``converted``: written in this platform's schema, or made from other
#: parts without a run; ``run``: it was there, or had been tried, and a run makes it again.
Outcome = Literal["as_is", "converted", "run"]


@dataclass(frozen=True)
class Part:
    """A part that the predecessor has, or had tried to make. ``detail`` says why it is made again."""

    name: PartName
    outcome: Outcome
    detail: str = ""
