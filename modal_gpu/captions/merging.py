"""Captions from the extents of a run, merged with the captions that are already stored."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from modal_gpu.databases.captions import Caption
from modal_gpu.databases.extents import ChangeSeconds
from modal_gpu.databases.sqlite_file import utc_now
from modal_gpu.extents.decoder import Extent
from modal_gpu.frame_index import INDEX_RATE

#: Captions with a lower confidence of their extents are pending review.
REVIEW_BELOW = 0.8


def boundary_seconds(index: int, frame_count: int, duration: float) -> float:
    """Estimate when a caption that appears (or disappears) at ``index`` starts (or ends), in seconds.

    Used if the source frame of the change is unknown. The change is uniformly distributed in
    ((index − 1)/10, index/10]; the middle has the least expected absolute error (25 ms, at most 50 ms).
    A caption seen at index 0 starts at 0, and one seen at the last index ends with the video. The result is
    clamped to [0, duration].
    """
    if index <= 0:
        return 0.0
    if index >= frame_count:
        return float(duration)
    return min(float(Fraction(2 * index - 1, 2 * INDEX_RATE)), float(duration))


def captions_from_extents(
    extents: Sequence[Extent], frame_count: int, duration: float, change_seconds: ChangeSeconds | None = None
) -> list[Caption]:
    """Return a new video's captions: predicted, queued for OCR, and pending review if uncertain.

    ``change_seconds`` (n − 1,) is the time of each pair's change; NaN if unknown.
    """
    return merge_extents([], extents, frame_count, duration, change_seconds)


def _predicted(
    start: int, end: int, extent: Extent, frame_count: int, duration: float, changes: ChangeSeconds
) -> Caption:
    """Build the caption of ``[start, end)``, an extent or a part of one.

    Only the extent's own ends have the times of source frames.
    """
    now = utc_now()
    coarse = tuple(boundary_seconds(index, frame_count, duration) for index in (start, end))
    begins, ends = (
        min(float(changes[index - 1]), float(duration))
        if index == own and 0 < index < frame_count and not np.isnan(changes[index - 1])
        else seconds
        for index, own, seconds in zip((start, end), (extent.start, extent.end), coarse, strict=True)
    )
    return Caption(
        start_index=start,
        end_index=end,
        start_seconds=begins if begins < ends else coarse[0],
        end_seconds=ends if begins < ends else coarse[1],
        updated_at=now,
        pending=extent.confidence < REVIEW_BELOW,
        confidence=extent.confidence,
        created_at=now,
    )


def merge_extents(
    existing: Sequence[Caption],
    extents: Sequence[Extent],
    frame_count: int,
    duration: float,
    change_seconds: ChangeSeconds | None = None,
) -> list[Caption]:
    """Return the captions after a new run of extents, with the times of :func:`captions_from_extents`.

    Captions that belong to a person are not changed. A new extent is reduced to the parts that they leave
    free, and dropped if one of them covers at least half of it, since a person set its edges there.

    A predicted caption with an unchanged range is kept with its OCR result; its times and confidence are
    updated. A new caption that overlaps an old predicted one takes over its id, with ``image_needs_regen``
    set and OCR queued again. Other predicted captions are removed.
    """
    changes = np.full(max(0, frame_count - 1), np.nan) if change_seconds is None else change_seconds
    # A duration from elsewhere must not remove captions that frames show.
    duration = max(duration, (frame_count - 1) / INDEX_RATE)
    kept = sorted((c for c in existing if c.belongs_to_person), key=lambda c: c.start_index)
    predicted = sorted((c for c in existing if not c.belongs_to_person), key=lambda c: c.start_index)
    pieces = [
        (start, end, extent)
        for extent in extents
        if not _is_mostly_covered(extent, kept)
        for start, end in _free_parts(extent.start, extent.end, kept)
    ]
    fresh = [
        _predicted(start, end, extent, frame_count, duration, changes)
        for start, end, extent in sorted(pieces, key=lambda piece: piece[:2])
    ]
    return sorted([*kept, *_with_earlier_ids(fresh, predicted)], key=lambda c: c.start_index)


def _with_earlier_ids(fresh: Sequence[Caption], earlier: Sequence[Caption]) -> Iterator[Caption]:
    """Yield new captions with the ids of the earlier ones that they continue; both sorted by start."""
    by_range = {(c.start_index, c.end_index): c for c in earlier}
    unchanged = {c.id for c in (by_range.get((c.start_index, c.end_index)) for c in fresh) if c is not None}
    spare = deque(c for c in earlier if c.id not in unchanged)
    for caption in fresh:
        if (same := by_range.get((caption.start_index, caption.end_index))) is not None:
            yield replace(
                same,
                start_seconds=caption.start_seconds,
                end_seconds=caption.end_seconds,
                confidence=caption.confidence,
                pending=caption.pending,
            )
            continue
        while spare and spare[0].end_index <= caption.start_index:
            spare.popleft()
        if spare and spare[0].start_index < caption.end_index:
            before = spare.popleft()
            caption = replace(caption, id=before.id, created_at=before.created_at, image_needs_regen=True)
        yield caption


def _is_mostly_covered(extent: Extent, captions: Sequence[Caption]) -> bool:
    """Return whether one of a person's captions (not a gap) covers at least half of an extent."""
    return any(
        caption.state != "gap"
        and 2 * (min(caption.end_index, extent.end) - max(caption.start_index, extent.start))
        >= extent.end - extent.start
        for caption in captions
    )


def _free_parts(start: int, end: int, occupied: Sequence[Caption]) -> list[tuple[int, int]]:
    """Return the parts of ``[start, end)`` outside of captions, which are sorted by start."""
    parts = []
    for caption in occupied:
        if caption.end_index <= start:
            continue
        if caption.start_index >= end:
            break
        if caption.start_index > start:
            parts.append((start, caption.start_index))
        start = max(start, caption.end_index)
    if start < end:
        parts.append((start, end))
    return parts
