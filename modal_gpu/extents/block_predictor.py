"""The trained network as a pair predictor for GPUs: large blocks, scaled and judged on the device.

Strips are uploaded as they are, in units, while the GPU works on the unit before; it scales them, makes
the reference pictures, and judges them in blocks. Units begin at multiples of their length in the video's
own indices and every block has the same shape, also in the last unit and at the ends of a part of a video.
So a part, judged with its margin, goes through the same arithmetic as in the complete video.
"""

import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from modal_gpu.extents.batches import (
    BATCH,
    BLOCK,
    MARGIN,
    REFERENCE_STRIPS,
    in_order,
    samples_of_block,
    suffice,
)
from modal_gpu.extents.block_size import DEFAULT_BLOCK, check_block
from modal_gpu.extents.network import HALO, REACH, ExtentsNetwork, fused
from modal_gpu.extents.predictor import PairBatch, StripFrame, StripHints
from modal_gpu.extents.stored_strips import StoredStrips
from modal_gpu.extents.torch_backend import inference_dtype
from modal_gpu.extents.torch_scaling import TorchScaler, median_picture
from modal_gpu.extents.transfers import CudaTransfers, HostTransfers, Transfers
from modal_gpu.extents.working_scale import hint_planes, working_size

#: Strips that are uploaded and scaled together, and slots for them: one is filled while others are copied.
_CHUNK, _SLOTS = 128, 3
assert BLOCK % _CHUNK == 0
assert HALO + REACH < MARGIN

_log = logging.getLogger(__name__)


class BlockPredictor:
    """A :class:`~modal_gpu.extents.predictor.PairPredictor` around a trained network, on PyTorch.

    It computes in :func:`~modal_gpu.extents.torch_backend.inference_dtype`; a CPU serves tests.
    ``block`` halves itself, for this process, whenever the GPU's memory does not suffice.
    """

    margin: int | None = MARGIN

    def __init__(
        self,
        network: ExtentsNetwork,
        model_version: str,
        model_sha256: str,
        *,
        device: str = "cuda",
        block: int = DEFAULT_BLOCK,
        transfers: Transfers[Any] | None = None,
    ) -> None:
        """``model_sha256`` is that of the checkpoint. Raises ``ValueError`` for a wrong ``block``."""
        self.model_version, self.model_sha256 = model_version, model_sha256
        self.block = check_block(block)
        self.on = torch.device(device)
        self.device = str(self.on)
        own: Transfers[Any] = CudaTransfers(self.on) if self.on.type == "cuda" else HostTransfers()
        self.transfers = transfers or own
        self.dtype = inference_dtype(self.on)
        self.network = fused(network).to(self.on, self.dtype)

    def predict(
        self, frames: Iterable[StripFrame], hints: StripHints, first_index: int = 0
    ) -> Iterator[PairBatch]:
        """Predict strips of one size that come in index order from ``first_index``, a multiple of 32.

        A unit (512 strips, or a block if that is larger) is final when the two after it were read; the
        batches are yielded one unit later. Raises ``ValueError`` when an index is missing or a strip
        differs in size.
        """
        if first_index % BATCH:
            raise ValueError(f"a part begins at a multiple of {BATCH}, not at {first_index}")
        lumas = in_order(frames, first_index)
        first = next(lumas, None)
        if first is None:
            return
        video = _Video(self, hints, first.shape, first_index)
        strips = itertools.chain([first], lumas)
        waiting: deque[_Result] = deque()
        while video.read(strips):
            waiting.extend(video.judged_units())
            while len(waiting) > 1:
                yield waiting.popleft().batch()
        waiting.extend(video.last_units())
        while waiting:
            yield waiting.popleft().batch()

    def in_blocks(self, compute: Callable[[int, int], Tensor], start: int, stop: int) -> Tensor:
        """Return the values of places [start, stop) of a unit, joined from ``compute(place, block)``.

        The places given to ``compute`` are multiples of the block. Without enough memory the block is
        halved and the unit is computed again.
        """
        while True:
            block = self.block
            begin = start // block * block
            try:
                values = torch.cat([compute(place, block) for place in range(begin, stop, block)])
                return values[start - begin : stop - begin]
            except torch.OutOfMemoryError:
                if block <= BATCH:
                    raise
            self.block = block // 2
            _log.warning("the GPU's memory does not suffice for %d strips: now %d", block, self.block)
            if self.on.type == "cuda":
                torch.cuda.empty_cache()


@dataclass(frozen=True)
class _Unit:
    """Values of the places [offset, offset + n) of a unit; ``index`` is the frame of the first one."""

    index: int
    offset: int
    values: Tensor

    @property
    def stop(self) -> int:
        return self.offset + len(self.values)


@dataclass(frozen=True)
class _Result:
    """Probabilities, (2, unit), that are on their way from the device."""

    unit: _Unit
    get: Callable[[], NDArray[np.float32]]

    def batch(self) -> PairBatch:
        presence, same = self.get()[:, self.unit.offset : self.unit.stop].copy()
        return PairBatch(self.unit.index, presence, same)


class _Video:
    """One video, or a part of it, on its way through the network."""

    def __init__(
        self, predictor: BlockPredictor, hints: StripHints, shape: tuple[int, int], first_index: int
    ) -> None:
        self._predictor, self._on = predictor, predictor.on
        self._unit = max(BLOCK, predictor.block)
        size = working_size(*shape, hints.line_height)
        self._scaler = TorchScaler(shape, size, predictor.on)
        planes = torch.from_numpy(hint_planes(size, hints))
        self._planes = planes.to(predictor.on, predictor.dtype)[None]
        self._references = _References(hints.samples, self._scaler, first_index)
        transfers = predictor.transfers
        self._slots = itertools.cycle([transfers.slot((_CHUNK, *shape)) for _ in range(_SLOTS)])
        self._index = first_index
        self._features: list[_Unit] = []  # of the last two units
        self._pooled: list[_Unit] = []

    @torch.inference_mode()
    def read(self, lumas: Iterator[NDArray[np.uint8]]) -> bool:
        """Read and encode the next unit; return whether there was one."""
        offset = stop = self._index % self._unit
        strips: Tensor | None = None
        while stop < self._unit and (taken := list(itertools.islice(lumas, _CHUNK - stop % _CHUNK))):
            if strips is None:
                strips = torch.zeros((self._unit, *self._scaler.padded), dtype=torch.uint8, device=self._on)
            begin = stop // _CHUNK * _CHUNK
            strips[begin : begin + _CHUNK] = self._working(taken, stop - begin)
            stop += len(taken)
        if strips is None:
            return False
        features = self._encoded(strips, offset, stop)
        self._features.append(_Unit(self._index, offset, features))
        self._index += stop - offset
        return True

    def _working(self, lumas: list[NDArray[np.uint8]], place: int) -> Tensor:
        """Return a chunk of strips at working scale; those from ``place`` on are ``lumas``."""
        slot, transfers = next(self._slots), self._predictor.transfers
        transfers.wait_until_free(slot)
        buffer = slot.host.numpy()
        for at, luma in enumerate(lumas, place):
            np.copyto(buffer[at], luma)
        transfers.upload(slot, slice(place, place + len(lumas)))
        strips = self._scaler(slot.device)
        transfers.used(slot)
        return strips

    def judged_units(self) -> Iterator[_Result]:
        """Yield the units that have become final with the last one read."""
        if len(self._features) > 1:
            self._pooled.append(self._pool(len(self._features) - 2))
            del self._features[:-2]
        if len(self._pooled) > 1:
            yield self._judge(len(self._pooled) - 2)
            del self._pooled[:-2]

    def last_units(self) -> Iterator[_Result]:
        """Yield the units that are left after the last strip."""
        self._pooled.append(self._pool(len(self._features) - 1))
        for place in range(max(0, len(self._pooled) - 2), len(self._pooled)):
            yield self._judge(place)

    def _encoded(self, strips: Tensor, offset: int, stop: int) -> Tensor:
        """Return features (n, h, w, channels) of the places [offset, stop) of a unit of strips."""
        references = self._references.of_unit(strips, self._index - offset, offset, stop)

        def encode(place: int, block: int) -> Tensor:
            first, end = place // BLOCK, max(place // BLOCK + 1, (place + block) // BLOCK)
            reference = references[first:end]
            if end - first > 1:
                reference = reference.repeat_interleave(BLOCK, dim=0)
            return self._predictor.network.encode(strips[place : place + block], reference)

        return self._predictor.in_blocks(encode, offset, stop)

    @torch.inference_mode()
    def _pool(self, place: int) -> _Unit:
        """Return the pooled values (n, channels) of a unit of features."""
        unit = self._features[place]
        is_first = place == 0 and unit.offset == 0
        together = _laid_out(self._features, place, HALO + 1, HALO, self._unit)

        def pool(start: int, block: int) -> Tensor:
            # Nothing is before the video's first frame; elsewhere the frames before it stand in front.
            skip = HALO + 1 if is_first and start == 0 else 0
            features = together[start + skip : start + block + 2 * HALO + 1]
            first = HALO + 1 - skip
            return self._predictor.network.maps(features[None], self._planes, first, first + block)[0][0]

        values = self._predictor.in_blocks(pool, unit.offset, unit.stop)
        return _Unit(unit.index, unit.offset, values)

    @torch.inference_mode()
    def _judge(self, place: int) -> _Result:
        """Request the probabilities of a unit of pooled values."""
        together = _laid_out(self._pooled, place, REACH, REACH, self._unit)
        logits = self._predictor.network.judge(together[None])[0]
        return _Result(self._pooled[place], self._predictor.transfers.download(logits.float().sigmoid()))


def _laid_out(units: list[_Unit], place: int, before: int, after: int, length: int) -> Tensor:
    """Return the values of places [-before, length + after) around a unit, from it and its neighbours.

    The first and the last value stand in for those beyond them.
    """
    unit = units[place]
    sooner = units[place - 1].values[-before:] if place else unit.values[:0]
    later = units[place + 1].values[:after] if place + 1 < len(units) else unit.values[:0]
    values = torch.cat([sooner, unit.values, later])
    left = before + unit.offset - len(sooner)
    right = length + after + before - left - len(values)
    others = [-1] * (values.dim() - 1)
    return torch.cat([values[:1].expand(left, *others), values, values[-1:].expand(right, *others)])


class _References:
    """The reference pictures of a video's blocks of :data:`BLOCK` frames, on the device."""

    def __init__(self, samples: StoredStrips, scaler: TorchScaler, first_index: int) -> None:
        self._samples, self._scaler = samples, scaler
        self._from_samples = suffice(samples, first_index)
        self._scaled: dict[int, Tensor] = {}  # by index

    def of_unit(self, strips: Tensor, first: int, offset: int, stop: int) -> Tensor:
        """Return the pictures (k, H, W) of the blocks of a unit that begins at index ``first``.

        Its strips are at [offset, stop); blocks without any have no picture, but zeros. Raises ``ValueError``
        when a part of a video has too few stored strips of the complete one.
        """
        if offset % BLOCK and not self._from_samples:
            raise ValueError("a part of a video needs stored strips of the whole one to be judged like it")
        pictures = torch.zeros_like(strips[::BLOCK])
        for place, begin in enumerate(range(0, len(strips), BLOCK)):
            end = min(begin + BLOCK, stop)
            if offset < begin + BLOCK and begin < end:
                pictures[place] = (
                    self._of_samples(first + begin) if self._from_samples else _of_own(strips, begin, end)
                )
        return pictures

    def _of_samples(self, first: int) -> Tensor:
        before = self._scaled
        self._scaled = {
            index: before[index] if index in before else self._scaler.one(luma)
            for index, luma in samples_of_block(self._samples, first).items()
        }
        return median_picture(torch.stack(list(self._scaled.values())))


def _of_own(strips: Tensor, start: int, stop: int) -> Tensor:
    """Return the picture of a block's own strips, at the places [start, stop)."""
    places = np.unique(np.linspace(start, stop - 1, REFERENCE_STRIPS).round().astype(np.int64))
    return median_picture(strips[torch.from_numpy(places).to(strips.device)])
