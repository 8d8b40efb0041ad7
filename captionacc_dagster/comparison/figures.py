"""The figures of a comparison, their sum over videos, and the limits that they are judged by."""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType

from captionacc_dagster.comparison.captions import Group, Kind
from captionacc_dagster.comparison.sides import SideChunks, SideLayout
from modal_gpu.contracts import CropRegion
from modal_gpu.databases.layout import LayoutBox
from modal_gpu.errors import CaptionAccError
from modal_gpu.frame_index import chunks
from modal_gpu.ocr.engine import Box

#: Share of common area (intersection over union) from which two crop regions are the same.
SAME_REGION = 0.98


class UnknownLimitError(CaptionAccError):
    """An unknown name of a limit, or a value that is not a number."""


@dataclass(frozen=True)
class Figures:
    """Counts of one video or of several; all add up. Lists are differences in milliseconds.

    ``missing_frames`` are frames that the new side should have stored, or that the old one has stored, and
    that are in no chunk of the new side.
    """

    videos: int = 0
    uncompared: int = 0
    old_captions: int = 0
    new_captions: int = 0
    lost: int = 0
    added: int = 0
    pairs: int = 0
    pairs_with_times: int = 0
    texts: int = 0
    same_texts: int = 0
    characters: int = 0
    text_edits: int = 0
    persons_captions: int = 0
    lost_edits: int = 0
    old_boxes: int = 0
    uncovered_boxes: int = 0
    labels: int = 0
    lost_labels: int = 0
    regions: int = 0
    other_regions: int = 0
    missing_frames: int = 0
    start_differences: tuple[int, ...] = field(default=(), repr=False)
    end_differences: tuple[int, ...] = field(default=(), repr=False)

    @property
    def other_times(self) -> int:
        """Pairs whose times differ."""
        return self.pairs - self.pairs_with_times

    @property
    def other_texts(self) -> int:
        """Texts that differ, of those compared."""
        return self.texts - self.same_texts

    def __add__(self, other: "Figures") -> "Figures":
        """Return the figures of the videos of both."""
        return Figures(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})


def caption_figures(groups: Iterable[Group]) -> Figures:
    """Return the figures of the captions of a video.

    Times are compared in pairs of one caption each. Texts are compared in every group with both sides that
    has been read, joined if there are several captions.
    """
    groups = list(groups)
    pairs = [group for group in groups if group.is_pair]
    read = [group for group in groups if group.old and group.new and group.has_texts]
    return Figures(
        old_captions=sum(len(group.old) for group in groups),
        new_captions=sum(len(group.new) for group in groups),
        lost=sum(len(group.old) for group in groups if group.kind is Kind.LOST),
        added=sum(len(group.new) for group in groups if group.kind is Kind.ADDED),
        pairs=len(pairs),
        pairs_with_times=sum(group.same_times for group in pairs),
        texts=len(read),
        same_texts=sum(group.same_text for group in read),
        characters=sum(group.old_characters for group in read),
        text_edits=sum(group.text_edits for group in read),
        persons_captions=sum(c.belongs_to_person for group in groups for c in group.old),
        lost_edits=sum(len(group.lost_edits) for group in groups),
        start_differences=tuple(group.start_difference or 0 for group in pairs),
        end_differences=tuple(group.end_difference or 0 for group in pairs),
    )


def layout_figures(old: SideLayout, new: SideLayout) -> Figures:
    """Return the figures of two layouts.

    Boxes are compared in the frames that have some on both sides; the predecessor's are characters, this
    one's are lines, so an old box is covered if its centre is inside a new one. A person's label is kept if
    the box over it has the same one. Regions are compared where the old one is approved.
    """
    ours = _by_frame(new.boxes)
    common = [(box, ours[box.frame_index]) for box in old.boxes if box.frame_index in ours]
    labelled = [box for box in old.boxes if box.label]
    is_kept = new.is_approved and region_overlap(old.crop_region, new.crop_region) >= SAME_REGION
    return Figures(
        old_boxes=len(common),
        uncovered_boxes=sum(not any(_covers(one, box) for one in lines) for box, lines in common),
        labels=len(labelled),
        lost_labels=sum(not _has_label(box, ours[box.frame_index]) for box in labelled),
        regions=int(old.is_approved),
        other_regions=int(old.is_approved and not is_kept),
    )


def _by_frame(boxes: Iterable[LayoutBox]) -> defaultdict[int, list[LayoutBox]]:
    found: defaultdict[int, list[LayoutBox]] = defaultdict(list)
    for box in boxes:
        found[box.frame_index].append(box)
    return found


def _covers(line: LayoutBox, box: LayoutBox) -> bool:
    inner, outer = box.box, line.box
    return outer.left <= inner.center_x <= outer.right and outer.top <= inner.center_y <= outer.bottom


def _has_label(box: LayoutBox, lines: Sequence[LayoutBox]) -> bool:
    return any(line.label == box.label and _covers(line, box) for line in lines)


def region_overlap(one: CropRegion, other: CropRegion) -> float:
    """Return the intersection over union of two regions, 0 to 1."""
    return _box(one).overlap(_box(other))


def _box(region: CropRegion) -> Box:
    return Box(region.crop_left, region.crop_top, region.crop_right, region.crop_bottom)


def chunk_figures(old: SideChunks | None, new: SideChunks) -> Figures:
    """Return the figures of the stored frames; without an old side, of the new one by itself."""
    theirs = _frames_of(old) if old is not None else set()
    wanted = theirs | {index for ref in chunks(new.frame_count) for index in ref.members(new.frame_count)}
    return Figures(missing_frames=len(wanted - _frames_of(new)))


def _frames_of(side: SideChunks) -> set[int]:
    return {index for ref in side.stored for index in ref.members(side.frame_count)}


@dataclass(frozen=True)
class Rule:
    """A limit: what is counted, out of what, and the largest count or share that is accepted."""

    name: str
    what: str
    count: str
    #: The figure that it is a share of; empty if the count itself is limited.
    of: str
    limit: float


RULES = (
    Rule("uncompared", "videos that could not be compared", "uncompared", "", 0),
    Rule("edits", "people's captions that differ", "lost_edits", "", 0),
    Rule("labels", "people's labels of boxes that differ", "lost_labels", "", 0),
    Rule("regions", "approved crop regions that differ", "other_regions", "", 0),
    Rule("frames", "frames that are in no chunk", "missing_frames", "", 0),
    Rule("lost", "captions that only the old side has", "lost", "old_captions", 0.02),
    Rule("added", "captions that only the new side has", "added", "new_captions", 0.05),
    Rule("times", "pairs whose times differ", "other_times", "pairs", 0.05),
    Rule("texts", "texts that differ", "other_texts", "texts", 0.05),
    Rule("characters", "characters that differ", "text_edits", "characters", 0.02),
    Rule("boxes", "old boxes that no new one covers", "uncovered_boxes", "old_boxes", 0.05),
)


@dataclass(frozen=True)
class Check:
    """A rule with what was found. ``share`` is ``None`` for a count, and if there is nothing to compare."""

    rule: Rule
    count: int
    of: int | None
    limit: float

    @property
    def share(self) -> float | None:
        """The count divided by what it is out of."""
        return self.count / self.of if self.of else None

    @property
    def is_met(self) -> bool:
        """True within the limit, and if there is nothing to compare."""
        if not self.rule.of:
            return self.count <= self.limit
        return self.share is None or self.share <= self.limit


def limits_with(given: Iterable[str]) -> Mapping[str, float]:
    """Return the limits by name, with those of ``NAME=VALUE`` in place of their defaults.

    Raises :class:`UnknownLimitError` for another name, and a value that is none.
    """
    limits = {rule.name: float(rule.limit) for rule in RULES}
    for one in given:
        name, _, value = one.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if name not in limits or not math.isfinite(number) or number < 0:
            raise UnknownLimitError(
                f"{one!r} is no limit: give NAME=VALUE with a name of {', '.join(limits)} and a value from 0"
            )
        limits[name] = number
    return limits


DEFAULT_LIMITS: Mapping[str, float] = MappingProxyType(limits_with(()))


def judge(figures: Figures, limits: Mapping[str, float] = DEFAULT_LIMITS) -> list[Check]:
    """Return the check of each rule."""
    return [
        Check(
            rule,
            getattr(figures, rule.count),
            getattr(figures, rule.of) if rule.of else None,
            limits[rule.name],
        )
        for rule in RULES
    ]


def spread(differences: Sequence[int]) -> tuple[int, int, int]:
    """Return the median, the 95th percentile and the largest of the sizes of differences; 0 without any."""
    sizes = sorted(map(abs, differences))
    if not sizes:
        return 0, 0, 0
    p95 = sizes[max(0, math.ceil(0.95 * len(sizes)) - 1)]
    return round(statistics.median(sizes)), p95, sizes[-1]
