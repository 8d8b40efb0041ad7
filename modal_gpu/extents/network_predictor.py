"""The trained network as a pair predictor: batches, reference pictures, and what a frame's result hangs on.

Batches begin at multiples of :data:`BATCH` of the video's own indices and blocks, which share a
reference picture, at multiples of :data:`BLOCK`. So a part of a video, judged with
:data:`MARGIN` frames around it, goes through the same arithmetic as in the whole video, to the bit.
"""

import bisect
import ctypes
import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from modal_gpu.extents.network import HALO, REACH, ExtentsNetwork, fused, with_ends
from modal_gpu.extents.predictor import PairBatch, SampledStrip, StripFrame, StripHints
from modal_gpu.extents.working_scale import (
    evenly_spread,
    hint_planes,
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
assert HALO + REACH < MARGIN
#: Strips that a reference picture is made from, as far as there are so many.
REFERENCE_STRIPS = 31
#: With fewer stored strips the reference picture comes from the block's own ones.
FEWEST_SAMPLES = 16

#: Of <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

Image = NDArray[np.uint8]


class NetworkPredictor:
    """:class:`~modal_gpu.extents.predictor.PairPredictor` around a trained network.

    On a CPU it computes in float32 and is deterministic; on CUDA in bfloat16 or, on older ones, float16.
    """

    margin = MARGIN

    def __init__(
        self, network: ExtentsNetwork, model_version: str, model_sha256: str, *, device: str | None = None
    ) -> None:
        self.model_version = model_version
        self.model_sha256 = model_sha256
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.dtype = torch.float32
        if self.device.type == "cuda":
            self.dtype = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        if self.device.type == "cpu":
            keep_freed_memory()
        self._network = fused(network, self.device).to(self.device, self.dtype)

    def predict(
        self, frames: Iterable[StripFrame], hints: StripHints, first_index: int = 0
    ) -> Iterator[PairBatch]:
        """Predict strips of one size that come in index order from ``first_index``, a multiple of 32.

        A batch is certain when the two after it were read; in a video with fewer than 16 stored
        strips, when its block of 512 frames is complete. Raises ``ValueError`` when an index is
        missing or a strip differs in size.
        """
        if first_index % BATCH:
            raise ValueError(f"a part begins at a multiple of {BATCH}, not at {first_index}")
        strips = _WorkingStrips(frames, hints, first_index)
        features: list[Tensor] = []  # of the last three batches
        pooled: list[Tensor] = []
        planes: Tensor | None = None
        index = first_index
        for batch, reference in _with_references(strips, hints.samples):
            if planes is None:
                planes = self._tensor(hint_planes(strips.size, hints)).to(self.dtype)[None]
            with torch.inference_mode():
                pictures = self._tensor(np.stack(batch))
                features.append(self._network.encode(pictures, self._tensor(reference)[None]))
                if len(features) > 1:
                    pooled.append(self._pooled(features, len(features) - 2, planes))
                    del features[:-2]
                if len(pooled) > 1:
                    yield self._judged(pooled, len(pooled) - 2, index)
                    del pooled[:-2]
                    index += BATCH
        if planes is None:
            return
        with torch.inference_mode():
            pooled.append(self._pooled(features, len(features) - 1, planes))
            for place in range(max(0, len(pooled) - 2), len(pooled)):
                yield self._judged(pooled, place, index)
                index += BATCH

    def _tensor(self, array: NDArray) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def _pooled(self, features: list[Tensor], place: int, planes: Tensor) -> Tensor:
        """Pooled values (n, channels) of the batch at ``place``, with its neighbours beside it."""
        before = features[place - 1][-HALO - 1 :] if place else features[place][:0]
        after = features[place + 1][:HALO] if place + 1 < len(features) else features[place][:0]
        parts = [part[None] for part in (before, features[place], after) if len(part)]
        first = len(before)
        return self._network.maps(parts, planes, first, first + len(features[place]))[0][0]

    def _judged(self, pooled: list[Tensor], place: int, index: int) -> PairBatch:
        """Probabilities of the batch at ``place``; always REACH values on either side of a whole batch."""
        before = pooled[place - 1][-REACH:] if place else pooled[place][:0]
        after = pooled[place + 1][:REACH] if place + 1 < len(pooled) else pooled[place][:0]
        missing = REACH - len(before), REACH - len(after)
        together = with_ends(torch.cat([before, pooled[place], after])[None], *missing)
        presence, same = self._network.judge(together)[0].float().sigmoid().cpu().numpy()
        return PairBatch(index, presence, same)


def keep_freed_memory() -> None:
    """Tell glibc to keep what a batch frees for the next one, up to 256 MB, in this process.

    It would give blocks of many megabytes back to the system each time, and a third of the encoder's time
    would go into pages fetched anew. Other C libraries are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 64 << 20)
        mallopt(_M_TRIM_THRESHOLD, 256 << 20)


def _with_references(
    strips: "_WorkingStrips", samples: tuple[SampledStrip, ...]
) -> Iterator[tuple[list[Image], Image]]:
    """Batches of strips, each with the reference picture of its block."""
    indices = [sample.index for sample in samples]
    own = len(samples) < FEWEST_SAMPLES
    reference: Image | None = None
    block: int | None = None
    while batch := strips.take(BATCH):
        start = strips.next_index - len(batch)
        if own and start % BLOCK == 0:
            # The block's own strips, which a part of the video does not share: such videos are short.
            rest = strips.take(BLOCK - len(batch)) if len(batch) == BATCH else []
            whole = batch + rest
            reference = reference_picture(evenly_spread(whole, REFERENCE_STRIPS))
            for begin in range(0, len(whole), BATCH):
                yield whole[begin : begin + BATCH], reference
            continue
        if not own and block != start // BLOCK:
            block = start // BLOCK
            near = _nearest(indices, block * BLOCK + BLOCK // 2)
            reference = reference_picture([strips.working(samples[place].luma) for place in near])
        if reference is None:
            raise ValueError("a part of a video needs strips of the whole one to be judged like it")
        yield batch, reference


def _nearest(indices: list[int], middle: int) -> range:
    """Places of the REFERENCE_STRIPS of sorted ``indices`` that are nearest to ``middle``."""
    last = min(
        max(bisect.bisect(indices, middle) + REFERENCE_STRIPS // 2 + 1, REFERENCE_STRIPS), len(indices)
    )
    return range(max(0, last - REFERENCE_STRIPS), last)


class _WorkingStrips:
    """Padded working strips in index order; ``size`` is theirs without padding, (height, width)."""

    def __init__(self, frames: Iterable[StripFrame], hints: StripHints, first_index: int) -> None:
        self._frames = iter(frames)
        self._line_height = hints.line_height
        self._shape: tuple[int, ...] | None = None
        self.next_index = first_index
        self.size = (0, 0)

    def take(self, count: int) -> list[Image]:
        """The next ``count`` strips, fewer at the end."""
        return [self._checked(frame) for frame in itertools.islice(self._frames, count)]

    def working(self, luma: Image) -> Image:
        """Any strip of the video at working scale."""
        return padded(scaled(luma, self.size))

    def _checked(self, frame: StripFrame) -> Image:
        luma = frame.luma
        if frame.index != self.next_index:
            raise ValueError(f"strip {frame.index} came where {self.next_index} was expected")
        if self._shape is None:
            self._shape, self.size = luma.shape, working_size(*luma.shape, self._line_height)
        elif luma.shape != self._shape:
            raise ValueError(f"strip {frame.index} is {luma.shape}, the ones before are {self._shape}")
        self.next_index += 1
        return self.working(luma)
