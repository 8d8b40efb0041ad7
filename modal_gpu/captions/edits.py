"""People's edits of captions: text, times, split, merged, shifted, confirmed, added, removed.

An edit names captions as viewers see them. Its result is confirmed: runs keep it, and it is not folded. If
the caption was folded from several states, these lose its lines, and those without lines are removed. Times
are a player's, in milliseconds; edges that do not move keep their exact times.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Literal

from pysubs2.time import ms_to_str

from modal_gpu.captions.growth import Cue, Growing, text_lines
from modal_gpu.captions.subtitles import TimedCue, timed_cues
from modal_gpu.databases.captions import Caption
from modal_gpu.databases.sqlite_file import utc_now
from modal_gpu.errors import CaptionAccError
from modal_gpu.frame_index import INDEX_RATE
from modal_gpu.timeline import Timeline

#: Times that differ by at most this are the same: ASS rounds to a hundredth of a second.
SAME_MS = 10
#: A caption may end this long after the video, as players allow; it is cut there.
AFTER_END_MS = 1000
#: Captions of one zone may overlap by this, as rounding makes them.
OVERLAP_MS = 2 * SAME_MS
#: Most faults that an error names.
_NAMED = 5

Kind = Literal["kept", "text changed", "times moved", "split", "merged", "added", "removed"]
KINDS: tuple[Kind, ...] = ("kept", "text changed", "times moved", "split", "merged", "added", "removed")


class EditError(CaptionAccError):
    """An edit that cannot be made: an unknown caption, or times outside the video or over another caption."""


@dataclass(frozen=True)
class Footage:
    """The video that captions belong to: its indices and times, and whether growing captions are folded."""

    frame_count: int
    duration: float
    timeline: Timeline
    growing: Growing = "fold"

    @property
    def start_ms(self) -> int:
        """When the first frame is shown, by a player's clock."""
        return round(self.timeline.start(0.0, 0) * 1000)

    @property
    def end_ms(self) -> int:
        """When the last frame is gone, by a player's clock."""
        length = max(self.duration, self.frame_count / INDEX_RATE)
        return round(self.timeline.end(length, self.frame_count) * 1000)


@dataclass(frozen=True)
class Wanted:
    """A caption as a person wants it: ``[start, end)`` in a player's milliseconds.

    Its zone stays as it is if ``zone`` is ``None``; a new caption is then in zone 0. With ``reviewed`` false
    the caption is to be reviewed again: an earlier confirmation is taken back.
    """

    start: int
    end: int
    text: str
    zone: int | None = None
    reviewed: bool = True


@dataclass(frozen=True)
class Change:
    """Captions and their replacements: one by one or several, several by one; none before, if it is new."""

    before: tuple[TimedCue, ...]
    after: tuple[Wanted, ...]

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of this change: text and times may both change."""
        match len(self.before), len(self.after):
            case 0, _:
                return ("added",)
            case _, 0:
                return ("removed",)
            case 1, 1:
                kinds: list[Kind] = []
                if not same_text(self.before[0].caption.best_text, self.after[0].text):
                    kinds.append("text changed")
                if not same_times(self.before[0], self.after[0]):
                    kinds.append("times moved")
                return tuple(kinds) or ("kept",)
            case 1, _:
                return ("split",)
            case _:
                return ("merged",)


def same_text(one: str, other: str) -> bool:
    """Return whether two texts have the same lines."""
    return text_lines(one) == text_lines(other)


def same_times(cue: TimedCue, wanted: Wanted) -> bool:
    """Return whether both times are the same, rounding aside."""
    return abs(cue.start - wanted.start) <= SAME_MS and abs(cue.end - wanted.end) <= SAME_MS


def clock(milliseconds: int) -> str:
    """Return a time as ``0:01:02.500``."""
    return ms_to_str(milliseconds, fractions=True)


def apply(captions: Sequence[Caption], changes: Sequence[Change], footage: Footage) -> list[Caption]:
    """Return the captions after people's changes, in the order of ``read_captions``.

    Each cue is in at most one change, as :func:`~modal_gpu.captions.subtitles.timed_cues` returned it for
    these captions. Raises :class:`EditError` for times outside the video, and for captions of one zone that
    overlap and did not before.
    """
    _check_times(changes, footage)
    there = timed_cues(captions, footage.timeline, footage.growing)
    changes = list(changes)
    while True:
        made = _Made(max((caption.id for caption in captions), default=0) + 1)
        for change in changes:
            made.make(change, footage)
        _check_overlaps(there, changes, made, footage)
        touched = [cue.cue for change in changes for cue in change.before]
        left = _without(captions, touched, {caption.id for caption in made.captions}, made)
        result = sorted([*left, *made.captions], key=lambda c: (c.start_index, c.id))
        lost = _lost(there, changes, timed_cues(result, footage.timeline, footage.growing))
        if not lost:
            return result
        # Without the lines that were taken, the others would be folded in another way.
        changes += [Change((cue,), (Wanted(cue.start, cue.end, cue.caption.best_text),)) for cue in lost]


def _lost(there: Iterable[TimedCue], changes: Iterable[Change], now: Iterable[TimedCue]) -> list[TimedCue]:
    """Return the cues without a change that are not shown as before."""
    changed = {cue.caption.id for change in changes for cue in change.before}
    shown = {_appearance(cue): cue.end for cue in now}
    return [
        cue
        for cue in there
        if cue.caption.id not in changed
        # The end of one that is not folded may follow the start of the next.
        and (_appearance(cue) not in shown or (cue.cue.is_folded and cue.end != shown[_appearance(cue)]))
    ]


def _appearance(cue: TimedCue) -> tuple[int, int, tuple[str, ...]]:
    return cue.start, cue.caption.zone, tuple(text_lines(cue.caption.best_text))


@dataclass
class _Made:
    """The captions that changes make, with the ids of those that each one comes from."""

    next_id: int
    captions: list[Caption] = field(default_factory=list)
    origins: dict[int, set[int]] = field(default_factory=dict)

    def new_id(self) -> int:
        self.next_id += 1
        return self.next_id - 1

    def make(self, change: Change, footage: Footage) -> None:
        """Make the captions of one change. The first keeps the id of the first one before."""
        before = change.before
        origins = {cue.caption.id for cue in before}
        if before and not change.after:
            self._add(_confirmed(before[0].caption, ""), origins)
        for number, wanted in enumerate(change.after):
            if not before:
                caption = Caption(
                    0, 1, 0.0, 0.1, id=self.new_id(), zone=wanted.zone or 0, created_at=utc_now()
                )
            elif number == 0:
                caption = before[0].caption
            else:
                caption = replace(
                    before[0].caption,
                    id=self.new_id(),
                    ocr_text=None,
                    ocr_confidence=None,
                    created_at=utc_now(),
                )
            if wanted.zone is not None:
                caption = replace(caption, zone=wanted.zone)
            if len(change.after) == 1 and (notes := _notes(before)):
                caption = replace(caption, text_notes=notes)
            moved = _timed(caption, wanted, before, footage)
            old = caption.best_text
            text = old if same_text(old, wanted.text) else wanted.text
            self._add((_confirmed if wanted.reviewed else _reopened)(moved, text), origins)

    def _add(self, caption: Caption, origins: set[int]) -> None:
        self.captions.append(caption)
        self.origins[caption.id] = origins


def _notes(cues: Sequence[TimedCue]) -> str:
    """Return people's notes on the rows that become one, each once. A rolling line's rows may remain."""
    rows = (row for cue in cues for row in ((cue.caption,) if cue.cue.roll else cue.cue.states))
    return "\n".join(dict.fromkeys(row.text_notes for row in rows if row.text_notes))


def _confirmed(caption: Caption, text: str) -> Caption:
    """Return a caption as a person confirmed it; one that already is so is not changed."""
    if caption.state == "confirmed" and caption.text == text and not caption.pending:
        return caption
    now = utc_now()
    return replace(
        caption,
        state="confirmed",
        pending=False,
        updated_at=now,
        text=text,
        text_pending=False,
        text_updated_at=now,
    )


def _reopened(caption: Caption, text: str) -> Caption:
    """Return a caption that is to be reviewed; runs may change it, unless a person wrote its text."""
    written = None if text == (caption.ocr_text or "") else text
    if caption.state == "predicted" and caption.pending and caption.text == written:
        return caption
    now = utc_now()
    return replace(
        caption,
        state="predicted",
        pending=True,
        updated_at=now,
        text=written,
        text_pending=True,
        text_updated_at=now,
    )


def _timed(caption: Caption, wanted: Wanted, before: Sequence[TimedCue], footage: Footage) -> Caption:
    """Return the caption with the wanted times; an edge that one before has too keeps its exact time."""
    starts = [c for c in before if abs(c.start - wanted.start) <= SAME_MS]
    ends = [c for c in before if abs(c.end - wanted.end) <= SAME_MS]
    if starts:
        start_index, start = starts[0].caption.start_index, starts[0].caption.start_seconds
    else:
        start_index, start = _on_index_axis(max(wanted.start, footage.start_ms), footage)
        start_index = min(start_index, footage.frame_count - 1)
    if ends and _shown_end(ends[-1].caption, footage) == ends[-1].end:
        end_index, end = ends[-1].caption.end_index, ends[-1].caption.end_seconds
    else:
        end_index, end = _on_index_axis(min(wanted.end, footage.end_ms), footage)
        end_index = min(end_index, footage.frame_count)
    # Both edges may be between the same two indices.
    end_index = max(end_index, start_index + 1)
    if (start_index, end_index, start, end) == (
        caption.start_index,
        caption.end_index,
        caption.start_seconds,
        caption.end_seconds,
    ):
        return caption
    return replace(
        caption,
        start_index=start_index,
        end_index=end_index,
        start_seconds=start,
        end_seconds=end,
        image_needs_regen=True,
        updated_at=utc_now(),
    )


def _shown_end(caption: Caption, footage: Footage) -> int:
    return round(footage.timeline.end(caption.end_seconds, caption.end_index) * 1000)


def _on_index_axis(milliseconds: int, footage: Footage) -> tuple[int, float]:
    """Return the index at which a change at this time is seen, and the time on the index axis."""
    seconds = footage.timeline.axis_seconds(milliseconds / 1000)
    # The inverse of the middle between two indices; a millisecond after an index is rounding.
    return max(0, ceil(seconds * INDEX_RATE - 0.011)), seconds


def _without(
    captions: Iterable[Caption], cues: Iterable[Cue], taken: Collection[int], made: _Made
) -> Iterator[Caption]:
    """Yield the captions without the lines of ``cues``; one whose id is taken gets a new one."""
    lines: dict[int, set[int]] = {}
    for cue in cues:
        for state, (first, end) in zip(cue.states, cue.lines, strict=True):
            lines.setdefault(state.id, set()).update(range(first, end))
    for caption in captions:
        if caption.id not in lines:
            yield caption
            continue
        rest = [line for k, line in enumerate(text_lines(caption.best_text)) if k not in lines[caption.id]]
        if rest:
            kept = replace(caption, text="\n".join(rest), text_updated_at=utc_now())
            yield replace(kept, id=made.new_id()) if kept.id in taken else kept


def _check_times(changes: Sequence[Change], footage: Footage) -> None:
    faults = []
    for wanted in (one for change in changes for one in change.after):
        at = f"{clock(max(0, wanted.start))} to {clock(max(0, wanted.end))} ({wanted.text[:30]!r})"
        if wanted.start >= wanted.end:
            faults.append(f"{at} ends before it starts")
        elif wanted.start >= footage.end_ms or wanted.end > footage.end_ms + AFTER_END_MS:
            faults.append(f"{at} is after the video's end, {clock(footage.end_ms)}")
        elif wanted.end <= footage.start_ms or wanted.start < 0:
            faults.append(f"{at} is before the video's first frame, {clock(footage.start_ms)}")
    _raise(faults)


def _check_overlaps(
    before: Sequence[TimedCue], changes: Sequence[Change], made: _Made, footage: Footage
) -> None:
    """Raise :class:`EditError` for overlaps that were not there before."""
    changed = {cue.caption.id for change in changes for cue in change.before}
    spans = [_Span(c.start, c.end, c.caption) for c in before if c.caption.id not in changed]
    for caption in made.captions:
        if caption.is_shown:
            start = round(footage.timeline.start(caption.start_seconds, caption.start_index) * 1000)
            spans.append(_Span(start, _shown_end(caption, footage), caption))
    earlier = {
        frozenset((a.caption.id, b.caption.id))
        for a, b in _overlapping([_Span(c.start, c.end, c.caption) for c in before])
    }
    faults = []
    for first, second in _overlapping(spans):
        sources = [made.origins.get(span.caption.id, {span.caption.id}) for span in (first, second)]
        both = (frozenset((a, b)) for a in sources[0] for b in sources[1])
        if not any(pair in earlier for pair in both):
            faults.append(f"{first} overlaps {second}")
    _raise(faults)


@dataclass(frozen=True)
class _Span:
    start: int
    end: int
    caption: Caption

    def __str__(self) -> str:
        return f"{clock(self.start)} to {clock(self.end)} ({self.caption.best_text[:30]!r})"


def _overlapping(spans: Sequence[_Span]) -> Iterator[tuple[_Span, _Span]]:
    """Yield the pairs of one zone that overlap by more than rounding."""
    active: list[_Span] = []
    for span in sorted(spans, key=lambda s: (s.start, s.end)):
        active = [one for one in active if one.end - span.start > OVERLAP_MS]
        for one in active:
            if one.caption.zone == span.caption.zone and min(one.end, span.end) - span.start > OVERLAP_MS:
                yield one, span
        active.append(span)


def _raise(faults: Sequence[str]) -> None:
    if faults:
        more = f"; and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
        raise EditError("; ".join(faults[:_NAMED]) + more + ". Nothing was changed.")


def counts(changes: Iterable[Change]) -> Mapping[Kind, int]:
    """Return how many changes there are of each kind."""
    found: dict[Kind, int] = dict.fromkeys(KINDS, 0)
    for change in changes:
        for kind in change.kinds:
            found[kind] += 1
    return found
