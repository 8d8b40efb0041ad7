"""Conversion from a video's index axis to a player's times.

The index axis begins at the first presented frame and omits long gaps between frames. A player counts from
the container's start, which may be earlier (audio first), and waits through such gaps. Every time that leaves
the platform is converted by :meth:`Timeline.start` or :meth:`Timeline.end`.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as checked_dataclass

from modal_gpu.frame_index import INDEX_RATE


@checked_dataclass(frozen=True, config=ConfigDict(allow_inf_nan=False))
class TimeSpan:
    """An offset of ``offset_seconds`` to a player's times, from ``first_index`` to the next span.

    ``held``: a player shows the last picture before this span until the span begins. Otherwise the
    recording's clock jumped, and that picture ends with its own span.
    """

    first_index: int
    offset_seconds: float
    held: bool = True


@dataclass(frozen=True)
class Timeline:
    """Spans that ascend from index 0. Raises ``ValueError`` if they do not."""

    spans: tuple[TimeSpan, ...] = (TimeSpan(0, 0.0),)

    def __post_init__(self) -> None:
        firsts = [span.first_index for span in self.spans]
        if not firsts or firsts[0] != 0 or any(later <= first for first, later in pairwise(firsts)):
            raise ValueError(f"time spans start at indices {firsts[:8]}, not at 0 and ascending")

    @classmethod
    def from_rows(cls, rows: Iterable[Sequence[Any]] | None) -> "Timeline":
        """Build the timeline from :meth:`rows`; without rows it changes no times."""
        spans = tuple(TimeSpan(*row) for row in rows or ())
        return cls(spans) if spans else cls()

    def rows(self) -> list[tuple[int, float, bool]]:
        """Return JSON-able ``(first_index, offset_seconds, held)``, sorted by index."""
        return [(span.first_index, span.offset_seconds, span.held) for span in self.spans]

    @property
    def start_offset_seconds(self) -> float:
        """Seconds from the container's start to the first presented frame."""
        return self.spans[0].offset_seconds

    def start(self, seconds: float, index: int) -> float:
        """Return when a player first shows what appears at ``index``, ``seconds`` on the index axis."""
        place = self._place(index)
        span = self.spans[place]
        if place:
            # A change between two indices belongs to the second one, which may be the span's first.
            seconds = max(seconds, span.first_index / INDEX_RATE)
        return seconds + span.offset_seconds

    def end(self, seconds: float, index: int) -> float:
        """Return when a player stops showing what is gone at ``index`` (half-open)."""
        place = self._place(max(0, index - 1))
        span, following = self.spans[place], self.spans[place + 1 : place + 2]
        if not following or index < following[0].first_index:
            return seconds + span.offset_seconds
        boundary = following[0].first_index / INDEX_RATE
        if following[0].held:
            return boundary + following[0].offset_seconds
        return min(seconds, boundary) + span.offset_seconds

    def axis_seconds(self, seconds: float) -> float:
        """Return the time on the index axis of a player's time: the inverse of :meth:`start` and :meth:`end`.

        A time before the first frame is 0; one at which a player holds a picture is that picture's end. Where
        a clock jumped back, so that a player shows a time twice, it is the first of the two.
        """
        for span, following in zip(self.spans, (*self.spans[1:], None), strict=True):
            on_axis = max(span.first_index / INDEX_RATE, seconds - span.offset_seconds)
            if following is None or on_axis < following.first_index / INDEX_RATE:
                return on_axis
            boundary = following.first_index / INDEX_RATE
            if seconds < boundary + following.offset_seconds:
                return boundary
        raise AssertionError("a timeline has at least one span")

    def _place(self, index: int) -> int:
        return max(0, bisect_right(self.spans, index, key=lambda span: span.first_index) - 1)
