"""Further zones of captions, beside the band with the most evidence."""

from dataclasses import dataclass

from modal_gpu.contracts import CaptionZone
from modal_gpu.layout.lines import AnchorType


@dataclass(frozen=True)
class LayoutZone:
    """A further zone as layout analysis describes it.

    ``vertical_center`` and ``box_height`` are fractions of the frame's height, ``anchor_position`` of its
    width; they are ``None`` in a zone that a person drew. ``reason`` is one sentence for people.
    """

    zone: CaptionZone
    anchor_type: AnchorType | None = None
    anchor_position: float | None = None
    vertical_center: float | None = None
    box_height: float | None = None
    confidence: float = 0.0
    reason: str = ""
