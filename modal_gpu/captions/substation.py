"""Advanced SubStation Alpha: one style a caption zone, at the place where the zone's captions are."""

from collections.abc import Iterable
from dataclasses import dataclass

import pysubs2

from modal_gpu.captions.growth import text_lines
from modal_gpu.captions.placement import BOTTOM_CENTER, alignment
from modal_gpu.contracts import MAX_ZONES, CropRegion, crop_regions
from modal_gpu.databases.layout import LayoutFile
from modal_gpu.layout.zones import LayoutZone

#: The picture that a file without a layout is written for, in pixels.
_WIDTH, _HEIGHT = 1280, 720
#: The height of a line of text as a share of the picture's, if the layout does not say it.
_LINE_HEIGHT = 0.06
#: The font size of a line box of height 1.
_SIZE_OF_BOX = 1.1
#: Keeps a character from being read with the one before: `\\N` and `{` have a meaning.
_WORD_JOINER = "\u2060"


@dataclass(frozen=True)
class AssLine:
    """A caption to write: ``[start, end)`` in milliseconds, its text, and its zone."""

    start: int
    end: int
    text: str
    zone: int = 0


def style_name(zone: int) -> str:
    """Return the name of a zone's style."""
    return f"Zone {zone}" if zone else "Default"


def zone_of_style(name: str) -> int:
    """Return the zone of a style that :func:`style_name` named; 0 for any other."""
    return next((zone for zone in range(1, MAX_ZONES) if style_name(zone) == name), 0)


def to_ass(lines: Iterable[AssLine], layout: LayoutFile | None = None) -> str:
    """Return the file's text; encode it as UTF-8. Times are rounded to a hundredth of a second.

    Each zone of ``layout`` has its alignment and margins. Nothing is in italics or coloured, since no step
    recognizes that.
    """
    lines = list(lines)
    file = pysubs2.SSAFile()
    width, height = (layout.frame_width, layout.frame_height) if layout else (_WIDTH, _HEIGHT)
    file.info |= {"PlayResX": str(width), "PlayResY": str(height), "WrapStyle": "0"}
    file.info["ScaledBorderAndShadow"] = "yes"
    regions = crop_regions(layout.crop_region, layout.caption_zones) if layout else {}
    bands: dict[int, LayoutFile | LayoutZone] = {0: layout} if layout else {}
    bands |= {band.zone.zone_index: band for band in layout.zones} if layout else {}
    for zone in sorted({0, *(line.zone for line in lines)}):
        style = pysubs2.SSAStyle(
            fontname="Arial",
            fontsize=round(height * _LINE_HEIGHT * _SIZE_OF_BOX),
            alignment=pysubs2.Alignment(BOTTOM_CENTER),
            outline=max(1.0, round(height / 360, 1)),
            shadow=0.0,
        )
        if zone in regions:
            _place(style, regions[zone], bands[zone], width, height)
        file.styles[style_name(zone)] = style
    for line in lines:
        text = r"\N".join(map(escaped, text_lines(line.text)))
        file.append(pysubs2.SSAEvent(line.start, line.end, text, style=style_name(line.zone)))
    return file.to_string("ass", header_notice="captionacc")


def escaped(text: str) -> str:
    r"""Return one line of text with ``{`` and ``\`` as they are; :func:`unescaped` is the inverse.

    ``\{`` is a brace to libass; a word joiner after a backslash keeps it from being read with what follows.
    """
    return text.replace("\\", f"\\{_WORD_JOINER}").replace("{", r"\{").replace("}", r"\}")


def unescaped(text: str) -> str:
    r"""Return the text of an event without override tags; ``\N`` becomes a line feed."""
    kept = text.replace(f"\\{_WORD_JOINER}", "\ue000").replace(r"\{", "\ue001").replace(r"\}", "\ue002")
    plain = pysubs2.SSAEvent(text=kept).plaintext
    return plain.replace("\ue000", "\\").replace("\ue001", "{").replace("\ue002", "}")


def _place(
    style: pysubs2.SSAStyle, crop: CropRegion, band: LayoutFile | LayoutZone, width: int, height: int
) -> None:
    """Set the alignment, the size and the margins of a zone's style."""
    style.alignment = pysubs2.Alignment(alignment(crop, band.anchor_type))
    if band.box_height:
        style.fontsize = max(1, round(height * band.box_height * _SIZE_OF_BOX))
    row = (int(style.alignment) - 1) // 3
    edge = {0: 1 - crop.crop_bottom, 1: 0.0, 2: crop.crop_top}[row]
    style.marginv = round(height * edge)
    if band.anchor_position is not None:
        if band.anchor_type == "left":
            style.marginl = round(width * band.anchor_position)
        elif band.anchor_type == "right":
            style.marginr = round(width * (1 - band.anchor_position))
