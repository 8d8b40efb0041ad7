"""Batches of strips at working scale, each with the reference picture of its block.

Batches begin at multiples of :data:`BATCH` of the video's own indices and blocks, which share a
reference picture, at multiples of :data:`BLOCK`. So a part of a video, judged with :data:`MARGIN`
frames around it, goes through the same arithmetic as in the complete video, to the bit.
"""

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from modal_gpu.extents.predictor import StripFrame, StripHints
from modal_gpu.extents.stored_strips import StoredStrips
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


def in_order(frames: Iterable[StripFrame], first_index: int) -> Iterator[NDArray[np.uint8]]:
    """Yield the luma of frames that have one size and follow each other from ``first_index``.

    Raises ``ValueError`` when an index is missing or a strip differs in size.
    """
    shape: tuple[int, ...] | None = None
    for expected, frame in enumerate(frames, first_index):
        luma = frame.luma
        if frame.index != expected:
            raise ValueError(f"strip {frame.index} came where {expected} was expected")
        shape = shape or luma.shape
        if luma.shape != shape:
            raise ValueError(f"strip {frame.index} is {luma.shape}, the ones before are {shape}")
        yield luma


class WorkingStrips:
    """Padded working strips in index order; ``size`` is theirs without padding, (height, width)."""

    def __init__(self, frames: Iterable[StripFrame], hints: StripHints, first_index: int) -> None:
        self._lumas = in_order(frames, first_index)
        self._line_height = hints.line_height
        self.next_index = first_index
        self.size = (0, 0)

    def take(self, count: int) -> list[Image]:
        """Return the next ``count`` strips, fewer at the end. Raises like :func:`in_order`."""
        taken = []
        for luma in itertools.islice(self._lumas, count):
            if self.size == (0, 0):
                height, width = luma.shape
                self.size = working_size(height, width, self._line_height)
            taken.append(self.working(luma))
        self.next_index += len(taken)
        return taken

    def working(self, luma: Image) -> Image:
        """Return any strip of the video at working scale."""
        return padded(scaled(luma, self.size))


def with_references(strips: WorkingStrips, samples: StoredStrips) -> Iterator[tuple[list[Image], Image]]:
    """Yield batches of strips, each with the reference picture of its block.

    Raises ``ValueError`` when a part of a video has too few stored strips of the complete one.
    """
    own = not suffice(samples, strips.next_index)
    scaled_samples: dict[int, Image] = {}
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
            near = samples_of_block(samples, start)
            scaled_samples = {
                index: scaled_samples[index] if index in scaled_samples else strips.working(luma)
                for index, luma in near.items()
            }
            reference = reference_picture(list(scaled_samples.values()))
        if reference is None:
            raise ValueError("a part of a video needs stored strips of the whole one to be judged like it")
        yield batch, reference


def samples_of_block(samples: StoredStrips, index: int) -> dict[int, Image]:
    """Return the stored strips, by index, for the reference picture of the block with an index."""
    return samples.nearest(index // BLOCK * BLOCK + BLOCK // 2, REFERENCE_STRIPS)


def suffice(samples: StoredStrips, first_index: int) -> bool:
    """Return whether there are enough stored strips for the reference pictures of a part of a video."""
    return len(samples_of_block(samples, first_index)) >= FEWEST_SAMPLES
