"""Captions of a video's finished segments, while others are still being judged.

Nearly all of them are also captions of the complete video, whose scores decide in the end. A caption at the
edge of what is finished may go on beyond it, and is left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from modal_gpu.captions.merging import captions_from_extents
from modal_gpu.databases.captions import Caption
from modal_gpu.databases.extents import SegmentScores
from modal_gpu.extents.decoder import Extent, decode, settings_for
from modal_gpu.extents.predictor import predictions


def captions_of_segments(
    parts: Sequence[SegmentScores], frame_count: int, duration: float, zone: int = 0
) -> list[Caption]:
    """Return the captions that lie inside finished segments of one zone, sorted by start, without ids.

    ``frame_count`` and ``duration`` (seconds) are the complete video's, as the layout has found them.
    """
    frame_count = max([frame_count, *(part.start_index + len(part) for part in parts)])
    changes = np.full(max(0, frame_count - 1), np.nan)
    extents: list[Extent] = []
    for group in _adjacent(parts):
        first = group[0].start_index
        end = group[-1].start_index + len(group[-1])
        seconds = np.concatenate([part.change_seconds for part in group])
        changes[max(0, first - 1) : end - 1] = seconds[1 if first == 0 else 0 :]
        extents += _inside(group, first, end, frame_count)
    captions = captions_from_extents(extents, frame_count, duration, changes)
    return [replace(caption, zone=zone) for caption in captions] if zone else captions


def _adjacent(parts: Sequence[SegmentScores]) -> Iterator[list[SegmentScores]]:
    """Yield the parts in groups without gaps."""
    group: list[SegmentScores] = []
    for part in sorted((part for part in parts if len(part)), key=lambda part: part.start_index):
        if group and part.start_index != group[-1].start_index + len(group[-1]):
            yield group
            group = []
        group.append(part)
    if group:
        yield group


def _inside(group: Sequence[SegmentScores], first: int, end: int, frame_count: int) -> Iterator[Extent]:
    presence = np.concatenate([part.presence for part in group])
    same = np.concatenate([part.same for part in group])
    for extent in decode(predictions(presence, same[1:]), settings_for(group[0].model_version)):
        start, stop = extent.start + first, extent.end + first
        if (start > first or first == 0) and (stop < end or end == frame_count):
            yield Extent(start, stop, extent.confidence)
