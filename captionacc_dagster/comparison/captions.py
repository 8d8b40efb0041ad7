"""Captions of two sides, grouped by the time that they share. All functions are pure."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from rapidfuzz import fuzz
from rapidfuzz.distance import Levenshtein

from captionacc_dagster.comparison.sides import SideCaption
from modal_gpu.captions.matching import TimeSpans
from modal_gpu.captions.reconcile import ALIKE

#: Largest difference of a start or an end that counts as none, in milliseconds. The predecessor's frames
#: are a tenth of a second apart: its times are off by up to 50 ms if both systems saw a change in the same
#: frame, and by 100 ms more if one of them saw it a frame later.
TOLERANCE_MS = 150
#: Two captions belong together if they share at least this part of the shorter one's time.
SHARED = 0.5


class Kind(StrEnum):
    """The result for a group of captions that belong together."""

    SAME = "same"
    TIMES = "times differ"
    TEXT = "text differs"
    TIMES_AND_TEXT = "times and text differ"
    DIVIDED = "divided"  #: one old, several new
    JOINED = "joined"  #: several old, one new
    REGROUPED = "regrouped"  #: several on both sides
    LOST = "only old"
    ADDED = "only new"


def readable(text: str) -> str:
    """Return what two readings of a text have in common: no spaces or line breaks, one form of each quote.

    Engines differ in these although they read the same. Case and full-width forms are kept.
    """
    plain = unicodedata.normalize("NFC", text).translate(ALIKE)
    return "".join(plain.split())


@dataclass(frozen=True)
class Group:
    """Captions of both sides that belong together, each side sorted by time; one side may be empty."""

    old: tuple[SideCaption, ...]
    new: tuple[SideCaption, ...]
    tolerance_ms: int = TOLERANCE_MS

    @property
    def is_pair(self) -> bool:
        """True for one caption on each side."""
        return len(self.old) == len(self.new) == 1

    @property
    def start(self) -> int:
        """When the first of them starts, in milliseconds."""
        return min(caption.start for caption in (*self.old, *self.new))

    @property
    def start_difference(self) -> int | None:
        """Milliseconds by which the new side starts later; ``None`` if one side is empty."""
        if not (self.old and self.new):
            return None
        return min(c.start for c in self.new) - min(c.start for c in self.old)

    @property
    def end_difference(self) -> int | None:
        """Milliseconds by which the new side ends later; ``None`` if one side is empty."""
        if not (self.old and self.new):
            return None
        return max(c.end for c in self.new) - max(c.end for c in self.old)

    @property
    def same_times(self) -> bool:
        """True if both ends of both sides agree within the tolerance."""
        differences = (self.start_difference, self.end_difference)
        return all(d is not None and abs(d) <= self.tolerance_ms for d in differences)

    @property
    def has_texts(self) -> bool:
        """True if each caption has been read, so that texts can be compared."""
        return all(caption.text is not None for caption in (*self.old, *self.new))

    @property
    def old_text(self) -> str:
        """The old side's texts, a line each."""
        return "\n".join(caption.text for caption in self.old if caption.text)

    @property
    def new_text(self) -> str:
        """The new side's texts, a line each."""
        return "\n".join(caption.text for caption in self.new if caption.text)

    @property
    def same_text(self) -> bool:
        """True if both sides say the same, apart from spaces and the form of quotes."""
        return readable(self.old_text) == readable(self.new_text)

    @property
    def text_edits(self) -> int:
        """Characters to change, add or remove between the two texts (Levenshtein distance)."""
        return Levenshtein.distance(readable(self.old_text), readable(self.new_text))

    @property
    def old_characters(self) -> int:
        """Characters of the old text."""
        return len(readable(self.old_text))

    @property
    def kind(self) -> Kind:
        """The result for the group."""
        if not (self.old and self.new):
            if self.has_texts and self.same_text:
                return Kind.SAME  # a person removed the caption, and neither side shows one
            return Kind.LOST if self.old else Kind.ADDED
        if not self.is_pair:
            if len(self.old) > 1 and len(self.new) > 1:
                return Kind.REGROUPED
            return Kind.DIVIDED if len(self.new) > 1 else Kind.JOINED
        if self.has_texts and not self.same_text:
            return Kind.TEXT if self.same_times else Kind.TIMES_AND_TEXT
        return Kind.SAME if self.same_times else Kind.TIMES

    @property
    def lost_edits(self) -> tuple[SideCaption, ...]:
        """The old captions of people that the new side does not have with the same text, times and marks."""
        return tuple(c for c in self.old if c.belongs_to_person and not self._is_kept(c))

    def _is_kept(self, caption: SideCaption) -> bool:
        if caption.text == "" and not any(other.text != "" for other in self.new):
            return True
        return any(self._keeps(other, caption) for other in self.new)

    def _keeps(self, other: SideCaption, caption: SideCaption) -> bool:
        moved = max(abs(other.start - caption.start), abs(other.end - caption.end))
        return (
            (not caption.has_persons_text or other.text == caption.text)
            and (not caption.has_persons_times or moved <= self.tolerance_ms)
            and set(caption.marks) <= set(other.marks)
        )


def group_captions(
    old: Sequence[SideCaption], new: Sequence[SideCaption], tolerance_ms: int = TOLERANCE_MS
) -> list[Group]:
    """Return groups sorted by time; each caption of both sides is in exactly one.

    Two captions of one zone belong together if they share half of the shorter one's time, and so do all that
    are connected in this way. A caption whose zone is not known has the zone of the caption on the other side
    that is most like it.
    """
    sides = _placed(old, new), _placed(new, old)
    joined = _Sets([(side, place) for side in (0, 1) for place in range(len(sides[side]))])
    others = _by_time(sides[1])
    for place, caption in enumerate(sides[0]):
        for other in others.sharing(caption.start, caption.end):
            if caption.zone == sides[1][other].zone and _belong_together(caption, sides[1][other]):
                joined.unite((0, place), (1, other))
    groups = []
    for members in joined.sets():
        chosen = [sorted((sides[s][p] for s, p in members if s == side), key=_order) for side in (0, 1)]
        groups.append(Group(tuple(chosen[0]), tuple(chosen[1]), tolerance_ms))
    return sorted(groups, key=lambda group: (group.start, [_order(c) for c in (*group.old, *group.new)]))


def _order(caption: SideCaption) -> tuple[int, int, int, str]:
    return caption.start, caption.end, caption.zone or 0, caption.text or ""


def _common(one: SideCaption, other: SideCaption) -> int:
    return min(one.end, other.end) - max(one.start, other.start)


def _belong_together(one: SideCaption, other: SideCaption) -> bool:
    shorter = min(one.end - one.start, other.end - other.start)
    return _common(one, other) >= max(1, SHARED * shorter)


def _placed(captions: Sequence[SideCaption], others: Sequence[SideCaption]) -> list[SideCaption]:
    """Return the captions, each with a zone."""
    by_time = _by_time(others)

    def zone(caption: SideCaption) -> int:
        shared = [others[place] for place in by_time.sharing(caption.start, caption.end)]
        best = max(
            shared, key=lambda other: (_likeness(caption, other), _common(caption, other)), default=None
        )
        return 0 if best is None else best.zone or 0

    return [c if c.zone is not None else replace(c, zone=zone(c)) for c in captions]


def _likeness(one: SideCaption, other: SideCaption) -> float:
    return fuzz.ratio(readable(one.text or ""), readable(other.text or ""))


def _by_time(captions: Sequence[SideCaption]) -> TimeSpans:
    """Return the places of captions by their times."""
    return TimeSpans((caption.start, caption.end, place) for place, caption in enumerate(captions))


_Member = tuple[int, int]


class _Sets:
    """Disjoint sets of members that are united step by step."""

    def __init__(self, members: Sequence[_Member]) -> None:
        self._parents = {member: member for member in members}

    def _root(self, member: _Member) -> _Member:
        while self._parents[member] != member:
            self._parents[member] = self._parents[self._parents[member]]
            member = self._parents[member]
        return member

    def unite(self, one: _Member, other: _Member) -> None:
        """Make one set of those of two members."""
        self._parents[self._root(one)] = self._root(other)

    def sets(self) -> Iterator[list[_Member]]:
        """Yield the members of each set."""
        found: defaultdict[_Member, list[_Member]] = defaultdict(list)
        for member in self._parents:
            found[self._root(member)].append(member)
        yield from found.values()
