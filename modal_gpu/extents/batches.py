"""Batches of strips at working scale, each with the reference picture of its block.

Batches begin at multiples of :data:`BATCH` of the video's own indices and blocks, which share a
reference picture, at multiples of :data:`BLOCK`. So a part of a video, judged with :data:`MARGIN`
frames around it, goes through the same arithmetic as in the complete video, to the bit.
"""

import bisect
import itertools
from collections.abc import Iterable, Iterator

from modal_gpu.extents.predictor import SampledStrip, StripFrame, StripHints
from modal_gpu.extents.working_scale import (
    Image,
    evenly_spread,
    padded,
    reference_picture,
    scaled,
    working_size,
)

#: Frames that go through the network together.
BATCH = 32
#: Frames that share a reference picture; chunks of cropped frames begin at its multiples too.
BLOCK = 512
#: Frames on either side of a part that its results depend on.
MARGIN = BATCH
#: Strips that a reference picture is computed from, as far as there are so many.
REFERENCE_STRIPS = 31
#: With fewer stored strips the reference picture comes from the block's own ones.
FEWEST_SAMPLES = 16


class WorkingStrips:
    """Padded working strips in index order; ``size`` is theirs without padding, (height, width)."""

    def __init__(self, frames: Iterable[StripFrame], hints: StripHints, first_index: int) -> None:
        self._frames = iter(frames)
        self._line_height = hints.line_height
        self._shape: tuple[int, int] | None = None
        self.next_index = first_index
        self.size = (0, 0)

    def take(self, count: int) -> list[Image]:
        """Return the next ``count`` strips, fewer at the end.

        Raises ``ValueError`` when an index is missing or a strip differs in size.
        """
        return [self._checked(frame) for frame in itertools.islice(self._frames, count)]

    def working(self, luma: Image) -> Image:
        """Return any strip of the video at working scale."""
        return padded(scaled(luma, self.size))

    def _checked(self, frame: StripFrame) -> Image:
        luma = frame.luma
        height, width = luma.shape
        if frame.index != self.next_index:
            raise ValueError(f"strip {frame.index} came where {self.next_index} was expected")
        if self._shape is None:
            self._shape, self.size = (height, width), working_size(height, width, self._line_height)
        elif luma.shape != self._shape:
            raise ValueError(f"strip {frame.index} is {luma.shape}, the ones before are {self._shape}")
        self.next_index += 1
        return self.working(luma)


def with_references(
    strips: WorkingStrips, samples: tuple[SampledStrip, ...]
) -> Iterator[tuple[list[Image], Image]]:
    """Yield batches of strips, each with the reference picture of its block.

    Raises ``ValueError`` when a part of a video has too few stored strips of the complete one.
    """
    indices = [sample.index for sample in samples]
    own = len(samples) < FEWEST_SAMPLES
    reference: Image | None = None
    block: int | None = None
    while batch := strips.take(BATCH):
        start = strips.next_index - len(batch)
        if own and start % BLOCK == 0:
            # The block's own strips, which a part of the video does not share: such videos are short.
            rest = strips.take(BLOCK - len(batch)) if len(batch) == BATCH else []
            all_strips = batch + rest
            reference = reference_picture(evenly_spread(all_strips, REFERENCE_STRIPS))
            for begin in range(0, len(all_strips), BATCH):
                yield all_strips[begin : begin + BATCH], reference
            continue
        if not own and block != start // BLOCK:
            block = start // BLOCK
            near = _nearest(indices, block * BLOCK + BLOCK // 2)
            reference = reference_picture([strips.working(samples[place].luma) for place in near])
        if reference is None:
            raise ValueError("a part of a video needs stored strips of the whole one to be judged like it")
        yield batch, reference


def _nearest(indices: list[int], middle: int) -> range:
    """Return the places of the REFERENCE_STRIPS of sorted ``indices`` that are nearest to ``middle``."""
    last = min(
        max(bisect.bisect(indices, middle) + REFERENCE_STRIPS // 2 + 1, REFERENCE_STRIPS), len(indices)
    )
    return range(max(0, last - REFERENCE_STRIPS), last)
