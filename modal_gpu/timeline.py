"""From a video's index axis to the times that a player shows.

The index axis begins at the first presented frame and leaves out long stretches without a frame. A player
counts from the container's start, which may come earlier (audio first), and waits through such stretches.
Every time that leaves the platform goes through :meth:`Timeline.start` or :meth:`Timeline.end`.
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
    """Indices from ``first_index`` on, up to the next span's, lie ``offset_seconds`` later in a player.

    ``held``: until this span begins, a player shows the last picture before it. Otherwise the
    recording's clock jumped, and the picture before it ends with its own span.
    """

    first_index: int
    offset_seconds: float
    held: bool = True


@dataclass(frozen=True)
class Timeline:
    """Spans that ascend from index 0. ``ValueError`` where they do not."""

    spans: tuple[TimeSpan, ...] = (TimeSpan(0, 0.0),)

    def __post_init__(self) -> None:
        firsts = [span.first_index for span in self.spans]
        if not firsts or firsts[0] != 0 or any(later <= first for first, later in pairwise(firsts)):
            raise ValueError(f"time spans start at indices {firsts[:8]}, not at 0 and ascending")

    @classmethod
    def from_rows(cls, rows: Iterable[Sequence[Any]] | None) -> "Timeline":
        """From :meth:`rows`; nothing at all is a video whose times need no change."""
        spans = tuple(TimeSpan(*row) for row in rows or ())
        return cls(spans) if spans else cls()

    def rows(self) -> list[tuple[int, float, bool]]:
        """JSON-able ``(first_index, offset_seconds, held)``, by index."""
        return [(span.first_index, span.offset_seconds, span.held) for span in self.spans]

    @property
    def start_offset_seconds(self) -> float:
        """From the container's start to the first presented frame."""
        return self.spans[0].offset_seconds

    def start(self, seconds: float, index: int) -> float:
        """When a player shows what is first seen at ``index``, ``seconds`` on the index axis."""
        place = self._place(index)
        span = self.spans[place]
        if place:
            # A change between two indices belongs to the second one, which may begin the span.
            seconds = max(seconds, span.first_index / INDEX_RATE)
        return seconds + span.offset_seconds

    def end(self, seconds: float, index: int) -> float:
        """When a player no longer shows what is first missing at ``index`` (that is, half-open)."""
        place = self._place(max(0, index - 1))
        span, following = self.spans[place], self.spans[place + 1 : place + 2]
        if not following or index < following[0].first_index:
            return seconds + span.offset_seconds
        boundary = following[0].first_index / INDEX_RATE
        if following[0].held:
            return boundary + following[0].offset_seconds
        return min(seconds, boundary) + span.offset_seconds

    def _place(self, index: int) -> int:
        return max(0, bisect_right(self.spans, index, key=lambda span: span.first_index) - 1)
