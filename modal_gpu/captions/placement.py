"""The place of a caption zone in the picture, as each format of subtitles writes it."""

from modal_gpu.contracts import CropRegion
from modal_gpu.layout.lines import AnchorType

#: SubStation Alpha's alignment of captions without a known place.
BOTTOM_CENTER = 2
_COLUMNS: dict[AnchorType, int] = {"left": 1, "center": 2, "right": 3}


def alignment(crop: CropRegion, anchor: AnchorType | None = None) -> int:
    """Return SubStation Alpha's alignment, by the third of the picture that the crop region's centre is in.

    The numbers are those of a numeric keypad: 1 to 3 at the bottom, 4 to 6 in the middle, 7 to 9 at the top;
    from left to right.
    """
    row = min(2, int(_middle(crop) * 3))
    return 3 * (2 - row) + _COLUMNS[anchor or "center"]


def subrip_tag(crop: CropRegion) -> str:
    """Return the tag by which most players place a caption at the top; empty in the lower half."""
    return "{\\an8}" if _middle(crop) < 0.5 else ""


def webvtt_setting(crop: CropRegion) -> str:
    """Return the setting ``line`` of a cue, with a space before it; empty in the lower third."""
    return "" if _middle(crop) > 2 / 3 else f" line:{crop.crop_top:.0%}"


def _middle(crop: CropRegion) -> float:
    return (crop.crop_top + crop.crop_bottom) / 2
