"""The place of a caption zone in the picture, as SubStation Alpha's ``\\an`` numbers it.

The numbers are those of a numeric keypad: 1 to 3 at the bottom, 4 to 6 in the middle, 7 to 9 at the top; from
left to right.
"""

from collections.abc import Mapping

from modal_gpu.contracts import CropRegion
from modal_gpu.databases.layout import LayoutFile
from modal_gpu.layout.lines import AnchorType

#: The alignment of each zone; one that is missing is at the bottom, centred.
Alignments = Mapping[int, int]
BOTTOM_CENTER = 2
_COLUMNS: dict[AnchorType, int] = {"left": 1, "center": 2, "right": 3}


def alignment(crop: CropRegion, anchor: AnchorType | None = None) -> int:
    """Return the alignment, 1 to 9, of the third of the picture that the crop region's centre is in."""
    row = min(2, int((crop.crop_top + crop.crop_bottom) / 2 * 3))
    return 3 * (2 - row) + _COLUMNS[anchor or "center"]


def alignments(layout: LayoutFile) -> Alignments:
    """Return the alignment of every zone of a layout."""
    places = {0: alignment(layout.crop_region, layout.anchor_type)}
    return places | {
        zone.zone.zone_index: alignment(zone.zone.crop_region, zone.anchor_type) for zone in layout.zones
    }
