"""Bands of captions beside the one with the most evidence: at the top as well, or a translation of signs.

Much of the text in a picture is neither: signs and labels share a height or an edge by chance. A further band
therefore needs several texts that are really different, at one anchor, more of them than chance would put
there, and room of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rapidfuzz import fuzz

from modal_gpu.contracts import MAX_ZONES, CropRegion
from modal_gpu.layout.band import Row, anchor_value, band_edges, grow
from modal_gpu.layout.lines import SAME_TEXT, Line, has_person_in, lines_by_frame, span_of

#: Smallest number of different texts at the anchor, and smallest share of a band's texts that are there.
MIN_TEXTS, MIN_ANCHORED = 3, 0.6
#: Smallest number of texts in a band as a share of the different texts outside of all bands: with a hundred
#: signs in the picture, several stand at one place by chance.
CHANCE_SHARE = 0.15
#: A band that is only on screen before or after the first one needs this many texts: fewer are titles or
#: credits.
MIN_TEXTS_APART = 8
#: Texts that are compared with each other; more prove nothing further.
_MOST_TEXTS = 200


@dataclass(frozen=True)
class Band:
    """A row with all lines of its captions, and how many of its texts differ and stand at its anchor."""

    row: Row
    members: list[Line]
    texts: int

    @property
    def edges(self) -> tuple[float, float]:
        """Top and bottom of the lines."""
        return band_edges(self.members)


def further_bands(
    rivals: Sequence[Row], lines: Sequence[Line], first: Sequence[Line], height: float
) -> list[Band]:
    """Return the bands among ``rivals``, rows in the order of their evidence, beside the ``first`` band.

    ``first`` are the lines of the chosen band, of ``height``; ``lines`` are all lines of the video.
    """
    taken = {id(line) for line in first}
    occupied = [_with_room(band_edges(first), height)]
    found: list[Band] = []
    for rival in rivals:
        if len(found) == MAX_ZONES - 1:
            break
        free = [line for line in lines if not line.verdict and id(line) not in taken]
        own = {id(line) for line in free}
        row = replace(rival, lines=[line for line in rival.lines if id(line) in own])
        band = _band(row, free, occupied)
        if band is None or _is_credits(band, first):
            continue
        found.append(band)
        occupied.append(_with_room(band.edges, row.height))
        taken |= {id(line) for line in band.members}
    return found


def _is_credits(band: Band, first: Sequence[Line]) -> bool:
    """Return whether a band is a few titles before the ``first`` band's captions or credits after them."""
    if has_person_in(band.members) or band.texts >= MIN_TEXTS_APART:
        return False
    own, others = [line.frame for line in band.members], [line.frame for line in first]
    return min(own) > max(others) or max(own) < min(others)


def _with_room(edges: tuple[float, float], height: float) -> tuple[float, float]:
    return edges[0] - height, edges[1] + height


def _band(row: Row, free: Sequence[Line], occupied: Sequence[tuple[float, float]]) -> Band | None:
    anchored = _different(_anchored_texts(row))
    if not has_person_in(row.lines) and not (
        _is_anchored(row, anchored) and _is_no_chance(row, anchored, free)
    ):
        return None
    if not row.lines or _meets(band_edges(row.lines), occupied):
        return None
    members = [line for line in grow(row, free) if not _meets((line.box.top, line.box.bottom), occupied)]
    return Band(row, members, max(1, anchored)) if members else None


def _meets(edges: tuple[float, float], occupied: Sequence[tuple[float, float]]) -> bool:
    return any(edges[0] < bottom and top < edges[1] for top, bottom in occupied)


def _is_anchored(row: Row, anchored: int) -> bool:
    enough = row.stable and anchored >= MIN_TEXTS
    return enough and anchored >= MIN_ANCHORED * _different([line.key for line in row.lines])


def _is_no_chance(row: Row, anchored: int, free: Sequence[Line]) -> bool:
    own = {id(line) for line in row.lines}
    return anchored >= CHANCE_SHARE * _different([line.key for line in free if id(line) not in own])


def _anchored_texts(row: Row) -> list[str]:
    """Return the text of each frame's line at the row's anchor."""
    texts = []
    for pieces in lines_by_frame(row.lines).values():
        off = abs(anchor_value(span_of(pieces), row.anchor_type) - row.anchor_position)
        if off <= row.tolerance:
            texts.append("".join(line.key for line in sorted(pieces, key=lambda line: line.box.left)))
    return texts


def _different(keys: Sequence[str]) -> int:
    """Count the texts, with similar readings as one."""
    kept: list[str] = []
    for key in dict.fromkeys(keys):
        if len(kept) == _MOST_TEXTS:
            break
        if key.strip("#") and not any(fuzz.ratio(key, other) >= SAME_TEXT for other in kept):
            kept.append(key)
    return len(kept)


def apart(crop: CropRegion, edges: tuple[float, float], others: Sequence[CropRegion]) -> CropRegion | None:
    """Return the crop region of a band without the padding that lies in other ones.

    ``None`` if the band's own lines, between ``edges``, lie in another region.
    """
    top, bottom = crop.crop_top, crop.crop_bottom
    for other in others:
        if edges[0] < other.crop_bottom and other.crop_top < edges[1]:
            return None
        if other.crop_bottom <= edges[0]:
            top = max(top, other.crop_bottom)
        else:
            bottom = min(bottom, other.crop_top)
    return CropRegion.around(crop.crop_left, top, crop.crop_right, bottom)
