"""The comparison of a video's two sides, out of the comparisons of its parts. All functions are pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from captionacc_dagster.comparison.captions import TOLERANCE_MS, Group, Kind, group_captions
from captionacc_dagster.comparison.figures import (
    Figures,
    caption_figures,
    chunk_figures,
    layout_figures,
    region_overlap,
)
from captionacc_dagster.comparison.sides import Side

_NONE = Side("none")


@dataclass(frozen=True)
class VideoComparison:
    """A video's two sides. ``notes`` say what could not be compared, and why."""

    video_id: str
    name: str
    old: Side
    new: Side
    groups: tuple[Group, ...]
    figures: Figures
    notes: tuple[str, ...] = ()

    @cached_property
    def differences(self) -> tuple[Group, ...]:
        """The groups that are not the same on both sides, or in which a person's work was lost."""
        return tuple(group for group in self.groups if group.kind is not Kind.SAME or group.lost_edits)

    def counts(self) -> dict[Kind, int]:
        """Return the number of groups of each kind that there is."""
        found = [group.kind for group in self.groups]
        return {kind: found.count(kind) for kind in Kind if kind in found}


def compare_sides(
    video_id: str, name: str, old: Side, new: Side, tolerance_ms: int = TOLERANCE_MS
) -> VideoComparison:
    """Compare what both sides have; what one of them lacks is in the notes.

    A video counts as not compared if the new side lacks captions that the old one has, or if the two have no
    part in common.
    """
    figures, common = Figures(videos=1), 0
    groups: tuple[Group, ...] = ()
    if old.captions is not None and new.captions is not None:
        groups = tuple(group_captions(old.captions, new.captions, tolerance_ms))
        figures, common = figures + caption_figures(groups), common + 1
    if old.layout is not None and new.layout is not None:
        figures, common = figures + layout_figures(old.layout, new.layout), common + 1
    if new.chunks is not None:
        figures, common = figures + chunk_figures(old.chunks, new.chunks), common + (old.chunks is not None)
    lacking = old.captions is not None and new.captions is None
    if lacking or not common:
        figures = replace(figures, uncompared=1)
    return VideoComparison(video_id, name, old, new, groups, figures, tuple(_notes(old, new)))


def not_compared(video_id: str, name: str, why: str) -> VideoComparison:
    """Return the entry of a video that one side does not have at all."""
    return VideoComparison(video_id, name, _NONE, _NONE, (), Figures(videos=1, uncompared=1), (why,))


def summed(comparisons: Sequence[VideoComparison]) -> Figures:
    """Return the figures of all videos together."""
    total = Figures()
    for one in comparisons:
        total += one.figures
    return total


def _notes(old: Side, new: Side) -> Iterator[str]:
    for part in ("captions", "layout", "chunks"):
        lacking = [side for side in (old, new) if getattr(side, part) is None]
        if len(lacking) == 1:
            yield f"only one side has {part}: {lacking[0].name} has none"
    yield from (f"{side.name}: {side.note}" for side in (old, new) if side.note)
    if old.layout is not None and new.layout is not None:
        overlap = region_overlap(old.layout.crop_region, new.layout.crop_region)
        if overlap < 1:
            yield f"the crop regions have {overlap:.1%} of their area in common"
