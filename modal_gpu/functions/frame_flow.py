"""Cropped frames on their way through a call: those of a segment, and those of a rate below 10 Hz."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from modal_gpu.contracts import FrameRange, Progress
from modal_gpu.media.frames import MAX_SOURCE_STRIPS, CroppedFrame, SourceStrip


def every(frames: Iterable[tuple[CroppedFrame, ...]], step: int) -> Iterator[tuple[CroppedFrame, ...]]:
    """Yield the zones' frames of every ``step``-th index, each with the small pictures since the last one."""
    if step == 1:
        yield from frames
        return
    passed: list[tuple[SourceStrip, ...]] = []
    for of_zones in frames:
        passed = passed or [()] * len(of_zones)
        seen = [before + frame.source for before, frame in zip(passed, of_zones, strict=True)]
        if of_zones[0].index % step:
            passed = seen
            continue
        passed = []
        yield tuple(replace(frame, source=_few(own)) for frame, own in zip(of_zones, seen, strict=True))


def _few(pictures: tuple[SourceStrip, ...]) -> tuple[SourceStrip, ...]:
    """Drop every other picture until there are few enough; the last one, the frame's own, stays."""
    while len(pictures) > MAX_SOURCE_STRIPS:
        pictures = pictures[::-1][::2][::-1]
    return pictures


def numbered(frames: Iterable[CroppedFrame], step: int) -> Iterator[CroppedFrame]:
    """Yield the frames with their place among those that exist as index, which a predictor expects."""
    for frame in frames:
        yield frame if step == 1 else replace(frame, index=frame.index // step)


def inside(frames: Iterable[CroppedFrame], segment: FrameRange) -> Iterator[CroppedFrame]:
    """Yield the frames of the segment; the others are read to their end too."""
    for frame in frames:
        if frame.index >= segment.start and (segment.end is None or frame.index < segment.end):
            yield frame


def reported(frames: Iterable[CroppedFrame], total: int, progress: Progress) -> Iterator[CroppedFrame]:
    """Yield the frames; report progress at every 50th."""
    for count, frame in enumerate(frames, 1):
        if count % 50 == 1:
            progress("strips", min(count, total), total)
        yield frame
