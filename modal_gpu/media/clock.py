"""The map from the time stamps of a video's packets to the index axis, and the video's length.

Zero is the first presented frame. A gap between frames longer than :data:`LONGEST_GAP_SECONDS` is cut:
nothing is computed for it. Where the clock restarts (joined recordings), the index axis continues without
a break. The length thus depends on frames that exist, never on a header or on a single time stamp, and
every stage that reads the file gets the same number of indices.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise

from modal_gpu.frame_index import INDEX_RATE, frame_count, index_time
from modal_gpu.timeline import Timeline, TimeSpan

#: A longer gap between frames is cut out of the index axis.
LONGEST_GAP_SECONDS = 5
#: Seconds of it that remain if a player holds the last picture: enough indices to judge that picture.
HELD_SECONDS = 1
#: The clock has restarted if a time stamp goes back by more than this.
RESTART_SECONDS = 1
#: Most packets that a codec decodes ahead of one that is shown earlier.
_MOST_REORDERED = 32
#: Number of earlier clocks that may continue after wrong time stamps.
_REMEMBERED = 8


@dataclass(frozen=True)
class Stamp:
    """A packet's time stamps, in ticks of the stream's time base; ``duration`` 0 when unknown."""

    dts: int | None
    pts: int | None
    duration: int = 0


@dataclass(frozen=True)
class Run:
    """Frames of one clock without a long gap: time stamps ``[first_pts, last_pts]``, inclusive.

    ``index_shift`` and ``player_shift`` are added to a time stamp's seconds for a time on the index axis
    or in a player.
    """

    first_pts: int
    last_pts: int
    #: Duration of its last frame in seconds, from the packet.
    last_seconds: Fraction
    index_shift: Fraction = Fraction(0)
    player_shift: Fraction = Fraction(0)
    #: Whether a player shows the previous run's last picture until this one begins.
    held: bool = True


@dataclass(frozen=True)
class Clock:
    """A video stream's runs in decoding order."""

    time_base: Fraction
    runs: tuple[Run, ...]
    #: On the index axis, from the first presented frame to the end of the last one.
    duration: Fraction
    timeline: Timeline
    #: Length according to the time stamps, including gaps.
    stamped_duration: Fraction
    #: Whether time stamps ascend throughout, so that each has one time.
    ascends: bool = field(init=False)

    def __post_init__(self) -> None:
        ascends = all(a.last_pts < b.first_pts for a, b in pairwise(self.runs))
        object.__setattr__(self, "ascends", ascends)

    @property
    def start_pts(self) -> int:
        """Time stamp of the first presented frame."""
        return self.runs[0].first_pts

    @property
    def index_count(self) -> int:
        """Number of 10 Hz indices."""
        return frame_count(self.duration)

    def seconds(self, pts: int) -> Fraction:
        """Return a time stamp's time on the index axis, with its run's shift. Requires ``ascends``."""
        place = bisect_right(self.runs, pts, key=lambda run: run.first_pts) - 1
        return pts * self.time_base + self.runs[max(0, place)].index_shift

    def pts_at(self, index: int) -> int:
        """Return the last time stamp at or before a frame index's time. Requires ``ascends``."""
        moment = index_time(index)
        place = bisect_right(self.runs, moment, key=self._begins) - 1
        return (moment - self.runs[max(0, place)].index_shift) // self.time_base

    def _begins(self, run: Run) -> Fraction:
        return run.first_pts * self.time_base + run.index_shift

    def left_out(self) -> tuple[int, float]:
        """Return the number of gaps that are cut out and their total seconds."""
        cuts = [
            float(after.index_shift - before.index_shift)
            for before, after in pairwise(self.runs)
            if after.player_shift == before.player_shift and after.index_shift < before.index_shift
        ]
        return len(cuts), -sum(cuts)


class ClockReader:
    """Times of frames in decoder output order; it keeps track of the current run."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._place = clock, 0
        self._last: int | None = None
        # In ticks: a difference of integers exceeds the quotient if it exceeds the integer below it.
        self._restart = RESTART_SECONDS // clock.time_base
        self._base = clock.time_base.as_integer_ratio()

    def seconds(self, pts: int) -> Fraction:
        """Return the next frame's time on the index axis."""
        fell_back = self._last is not None and self._last - pts > self._restart
        if fell_back or not self._holds(self._place, pts):
            later = range(self._place + 1, len(self._clock.runs))
            earlier = range(self._place - 1, -1, -1)
            found = (place for places in (later, earlier) for place in places if self._holds(place, pts))
            self._place = next(found, self._place)
        self._last = pts
        # One fraction, not a product and a sum of two: this is computed for each frame.
        (numerator, denominator), shift = self._base, self._clock.runs[self._place].index_shift
        return Fraction(
            pts * numerator * shift.denominator + shift.numerator * denominator,
            denominator * shift.denominator,
        )

    def _holds(self, place: int, pts: int) -> bool:
        run = self._clock.runs[place]
        return run.first_pts <= pts <= run.last_pts


def read_clock(
    stamps: Iterable[Stamp],
    start_pts: int,
    time_base: Fraction,
    *,
    container_start: Fraction | None,
    held: bool,
) -> Clock:
    """Build the clock from the presented packets' time stamps, in file order.

    ``start_pts`` is the first presented frame's time stamp. ``container_start`` is the second from which
    players count, ``None`` if the container has none. ``held``: the format's clock does not jump, so a gap
    is a still picture.
    """
    runs = _placed(_runs(stamps, start_pts, time_base), time_base, container_start, held)
    duration = max(_index_end(run, time_base) for run in runs)
    stamped_end = max(run.last_pts * time_base + run.last_seconds for run in runs)
    return Clock(
        time_base=time_base,
        runs=tuple(runs),
        duration=duration,
        timeline=_timeline(runs, time_base, frame_count(duration)),
        stamped_duration=stamped_end - runs[0].first_pts * time_base,
    )


@dataclass(frozen=True)
class _Frame:
    pts: int
    duration: int
    #: Position of its packet in its recording.
    place: int


def _runs(stamps: Iterable[Stamp], start_pts: int, time_base: Fraction) -> Iterator[Run]:
    """Yield the runs in file order, without their shifts."""
    for recording in _recordings(stamps, start_pts, time_base):
        for frames in _believable(_without_gaps(recording, time_base)):
            yield Run(frames[0].pts, frames[-1].pts, frames[-1].duration * time_base)


def _recordings(stamps: Iterable[Stamp], start_pts: int, time_base: Fraction) -> Iterator[list[_Frame]]:
    """Yield the frames of each recording; a new one starts where decoding times restart."""
    restart = RESTART_SECONDS / time_base
    recording = [_Frame(start_pts, 0, 0)]
    latest: int | None = None
    expected = start_pts
    for stamp in stamps:
        pts = stamp.pts if stamp.pts is not None else stamp.dts
        pts = expected if pts is None else pts
        expected = pts + stamp.duration
        dts = stamp.dts if stamp.dts is not None else pts
        if latest is not None and dts < latest - restart:
            yield recording
            recording, latest = [], None
        latest = dts if latest is None else max(latest, dts)
        recording.append(_Frame(pts, stamp.duration, len(recording)))
    yield recording


def _without_gaps(recording: list[_Frame], time_base: Fraction) -> Iterator[list[_Frame]]:
    """Yield the recording's frames in presentation order, split at each long gap."""
    recording.sort(key=lambda frame: (frame.pts, frame.duration))
    longest = LONGEST_GAP_SECONDS / time_base
    first = 0
    for place, (frame, following) in enumerate(pairwise(recording), 1):
        if following.pts - frame.pts > longest:
            yield recording[first:place]
            first = place
    yield recording[first:]


def _believable(runs: Iterable[list[_Frame]]) -> list[list[_Frame]]:
    """Drop runs whose time stamps contradict the decoding order by more than codecs reorder.

    Of two contradicting runs the shorter one is wrong: its frames come out of the decoder among the
    other's, and are counted there.
    """
    kept: list[list[_Frame]] = []
    for run in runs:
        earliest = min(frame.place for frame in run)
        while kept and max(frame.place for frame in kept[-1]) > earliest + _MOST_REORDERED:
            if len(kept[-1]) > len(run):
                break
            kept.pop()
        else:
            kept.append(run)
    return kept


def _placed(
    runs: Iterable[Run], time_base: Fraction, container_start: Fraction | None, held: bool
) -> list[Run]:
    """Return the runs with their shifts."""
    placed: list[Run] = []
    for run in runs:
        first = run.first_pts * time_base
        if not placed:
            start = first if container_start is None else min(first, container_start)
            run = replace(run, index_shift=-first, player_shift=-start)
        elif (known := _same_clock(placed, first, time_base)) is not None:
            placed[known + 1 :] = _misplaced(placed[known], placed[known + 1 :], time_base)
            run = replace(run, index_shift=placed[known].index_shift, player_shift=placed[known].player_shift)
        else:
            run = _on_new_clock(placed[-1], run, time_base, held)
        placed.append(run)
    return placed


def _on_new_clock(before: Run, run: Run, time_base: Fraction, held: bool) -> Run:
    """Place a run after a long gap or a restarted clock: it begins at a new index."""
    first = run.first_pts * time_base
    end = _index_end(before, time_base)
    jumps = run.first_pts > before.last_pts
    if jumps and held:
        end = max(end, before.last_pts * time_base + before.index_shift + HELD_SECONDS)
    begins = Fraction(math.ceil(end * INDEX_RATE), INDEX_RATE)
    spliced = _index_end(before, time_base) - before.index_shift + before.player_shift - first
    return replace(
        run,
        index_shift=begins - first,
        player_shift=before.player_shift if jumps else spliced,
        held=held or not jumps,
    )


def _same_clock(placed: list[Run], first: Fraction, time_base: Fraction) -> int | None:
    """Find the latest run whose clock a time stamp continues: a clock may return after wrong time stamps."""
    between = Fraction(0)
    for place in range(len(placed) - 1, max(-1, len(placed) - 1 - _REMEMBERED), -1):
        known = placed[place]
        ahead = first + known.index_shift - _index_end(known, time_base) - between
        if -RESTART_SECONDS <= ahead <= LONGEST_GAP_SECONDS:
            return place
        between += _length(known, time_base)
    return None


def _misplaced(known: Run, runs: list[Run], time_base: Fraction) -> list[Run]:
    """Place runs with wrong time stamps directly after the run whose clock continues after them."""
    end = _index_end(known, time_base)
    corrected = []
    for run in runs:
        shift = end - run.first_pts * time_base
        player = shift - known.index_shift + known.player_shift
        corrected.append(replace(run, index_shift=shift, player_shift=player))
        end += _length(run, time_base)
    return corrected


def _length(run: Run, time_base: Fraction) -> Fraction:
    return (run.last_pts - run.first_pts) * time_base + _shown_seconds(run)


def _index_end(run: Run, time_base: Fraction) -> Fraction:
    return run.last_pts * time_base + run.index_shift + _shown_seconds(run)


def _shown_seconds(run: Run) -> Fraction:
    """Return the last frame's seconds on the index axis: a long still picture is cut like a gap."""
    return run.last_seconds if run.last_seconds <= LONGEST_GAP_SECONDS else Fraction(HELD_SECONDS)


def _timeline(runs: list[Run], time_base: Fraction, count: int) -> Timeline:
    spans: list[TimeSpan] = []
    for run in runs:
        first_index = math.ceil((run.first_pts * time_base + run.index_shift) * INDEX_RATE)
        offset = round(float(run.player_shift - run.index_shift), 6)
        if not spans or (offset != spans[-1].offset_seconds and first_index > spans[-1].first_index):
            spans.append(TimeSpan(first_index, offset, run.held))
    last = runs[-1]
    if last.last_seconds > LONGEST_GAP_SECONDS and count > spans[-1].first_index:
        end = last.last_pts * time_base + last.last_seconds + last.player_shift
        spans.append(TimeSpan(count, round(float(end - index_time(count)), 6)))
    return Timeline(tuple(spans))
