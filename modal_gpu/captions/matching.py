"""The captions of a file matched with those that are there, by time and text."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from rapidfuzz import fuzz

from modal_gpu.captions.edits import SAME_MS, Change, Wanted, same_text
from modal_gpu.captions.growth import text_lines
from modal_gpu.captions.reconcile import comparable
from modal_gpu.captions.subtitle_files import FileCue
from modal_gpu.captions.subtitles import TimedCue

#: A caption with the same text is the same one if it moved by less than this.
MOVED_MS = 120_000
#: Similarity (0 to 100) of the text of a caption with its parts', and of two texts of one caption.
PARTS_SIMILARITY, TEXT_SIMILARITY = 60.0, 60.0
#: Share of common time of two captions that are one although their texts differ.
SAME_TIME = 0.3


def match(cues: Sequence[TimedCue], file: Sequence[FileCue]) -> list[Change]:
    """Return what a file changes, sorted by time; every cue and every caption of the file is in one change.

    In this order: same times; same text, moved; one divided into several, or several joined; similar in time
    or text. The rest was removed or added.
    """
    matching = _Matching(cues, file)
    changes = [
        *matching.same_times(),
        *matching.same_texts(),
        *matching.splits(),
        *matching.merges(),
        *matching.similar(),
        *(Change((cue,), ()) for cue in matching.cues()),
        *(Change((), (_wanted(one, ()),)) for one in matching.ones()),
    ]
    return sorted(changes, key=_place)


def _place(change: Change) -> tuple[int, int]:
    spans = [*((c.start, c.end) for c in change.before), *((w.start, w.end) for w in change.after)]
    return min(spans)


def _wanted(one: FileCue, cues: Sequence[TimedCue]) -> Wanted:
    """Return a caption of the file. It keeps the text of the cue, if it has the same one, and the zone."""
    same = next((cue.caption.best_text for cue in cues if _has_text(cue, one)), one.text)
    return Wanted(one.start, one.end, same, None if cues else one.zone)


def _has_text(cue: TimedCue, one: FileCue) -> bool:
    text = cue.caption.best_text
    return same_text(text, one.text) or same_text(text, one.raw)


def _common(cue: TimedCue, one: FileCue) -> int:
    return min(cue.end, one.end) - max(cue.start, one.start)


def _joined(texts: Iterable[str]) -> str:
    return comparable(" ".join(texts))


class TimeSpans:
    """Spans of time by their keys, to find those that share time with another."""

    def __init__(self, spans: Iterable[tuple[int, int, int]]) -> None:
        """Take ``(start, end, key)`` of each span."""
        self._spans = sorted(spans)
        self._longest = max((end - start for start, end, _ in self._spans), default=0)

    def sharing(self, start: int, end: int) -> list[int]:
        """Return the keys of the spans that share time with ``[start, end)``, sorted by start."""
        first = bisect_left(self._spans, (start - self._longest,))
        last = bisect_left(self._spans, (end,))
        return [key for _, until, key in self._spans[first:last] if until > start]


class _Matching:
    """The captions that are not matched yet. Each method yields matches of one kind and removes them."""

    def __init__(self, cues: Sequence[TimedCue], file: Sequence[FileCue]) -> None:
        self._cues = dict(enumerate(sorted(cues, key=lambda cue: (cue.start, cue.end))))
        self._file = dict(enumerate(file))

    def cues(self) -> list[TimedCue]:
        return list(self._cues.values())

    def ones(self) -> list[FileCue]:
        return list(self._file.values())

    def _take(self, cues: Iterable[int], ones: Iterable[int]) -> Change:
        before = tuple(self._cues.pop(place) for place in cues)
        after = tuple(self._file.pop(place) for place in ones)
        return Change(before, tuple(_wanted(one, before) for one in after))

    def _best_pairs(self, pairs: Iterable[tuple[float, int, int]]) -> Iterator[Change]:
        """Take pairs ``(cost, cue, one of the file)``, cheapest first."""
        for _, cue, one in sorted(pairs):
            if cue in self._cues and one in self._file:
                yield self._take([cue], [one])

    def same_times(self) -> Iterator[Change]:
        """Yield those with the same times; of several, the one with the same text and zone."""
        places = list(self._cues)
        starts = [self._cues[place].start for place in places]
        pairs = []
        for number, one in self._file.items():
            first = bisect_left(starts, one.start - SAME_MS)
            for place in places[first:]:
                cue = self._cues[place]
                if cue.start > one.start + SAME_MS:
                    break
                if abs(cue.end - one.end) <= SAME_MS:
                    other_zone = one.zone not in (None, cue.caption.zone)
                    pairs.append((2.0 * (not _has_text(cue, one)) + other_zone, place, number))
        yield from self._best_pairs(pairs)

    def same_texts(self) -> Iterator[Change]:
        """Yield those with the same text, nearest in time first."""
        by_text = defaultdict(list)
        for place, cue in self._cues.items():
            by_text["\n".join(text_lines(cue.caption.best_text))].append(place)
        pairs = []
        for number, one in self._file.items():
            for text in {"\n".join(text_lines(one.text)), "\n".join(text_lines(one.raw))}:
                for place in by_text.get(text, ()):
                    distance = abs(self._cues[place].start - one.start)
                    if distance <= MOVED_MS:
                        pairs.append((float(distance), place, number))
        yield from self._best_pairs(pairs)

    def splits(self) -> Iterator[Change]:
        """Yield cues that the file has in several parts, each mostly in the cue's time."""
        times = self._file_times()
        for place, cue in list(self._cues.items()):
            shared = {n: self._file[n] for n in times.sharing(cue.start, cue.end) if n in self._file}
            inside = [n for n, one in shared.items() if 2 * _common(cue, one) > one.end - one.start]
            parts = _joined(shared[number].text for number in inside)
            if len(inside) > 1 and self._alike(parts, comparable(cue.caption.best_text)):
                yield self._take([place], inside)

    def merges(self) -> Iterator[Change]:
        """Yield captions of the file that join several cues of one zone, each mostly in their time."""
        times = TimeSpans((cue.start, cue.end, place) for place, cue in self._cues.items())
        for number, one in list(self._file.items()):
            shared = {p: self._cues[p] for p in times.sharing(one.start, one.end) if p in self._cues}
            inside = [p for p, cue in shared.items() if 2 * _common(cue, one) > cue.end - cue.start]
            parts = _joined(shared[place].caption.best_text for place in inside)
            zones = {shared[place].caption.zone for place in inside}
            if len(inside) > 1 and len(zones) == 1 and self._alike(parts, comparable(one.text)):
                yield self._take(inside, [number])

    def similar(self) -> Iterator[Change]:
        """Yield those that share time, and either much of it or much of the text."""
        pairs = []
        times = self._file_times()
        for place, cue in self._cues.items():
            for number in times.sharing(cue.start, cue.end):
                one = self._file[number]
                share = _common(cue, one) / (max(cue.end, one.end) - min(cue.start, one.start))
                alike = fuzz.ratio(comparable(cue.caption.best_text), comparable(one.text))
                if share >= SAME_TIME or alike >= TEXT_SIMILARITY:
                    pairs.append((-share - alike / 100, place, number))
        yield from self._best_pairs(pairs)

    def _file_times(self) -> TimeSpans:
        return TimeSpans((one.start, one.end, number) for number, one in self._file.items())

    @staticmethod
    def _alike(one: str, other: str) -> bool:
        return fuzz.ratio(one, other) >= PARTS_SIMILARITY
