"""The trained network as a pair predictor, on ONNX Runtime or on PyTorch.

A batch's maps need features of the batches beside it, and its probabilities need pooled values of the
batches beside it, so results follow two batches behind the strips.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from modal_gpu.extents.batches import BATCH, MARGIN, WorkingStrips, with_references
from modal_gpu.extents.predictor import FloatArray, PairBatch, StripFrame, StripHints
from modal_gpu.extents.working_scale import Image, hint_planes

#: A batch's features, and its pooled values, as a backend keeps them.
Features = TypeVar("Features")
Pooled = TypeVar("Pooled")
T = TypeVar("T")


@dataclass(frozen=True)
class Neighbours(Generic[T]):
    """A batch's values with those of the batches before and after it; ``None`` at the video's ends."""

    before: T | None
    batch: T
    after: T | None

    @classmethod
    def of(cls, values: list[T], place: int) -> "Neighbours[T]":
        """Return the value at ``place`` with the ones beside it in a list."""
        return cls(
            values[place - 1] if place else None,
            values[place],
            values[place + 1] if place + 1 < len(values) else None,
        )


class NetworkBackend(Protocol[Features, Pooled]):
    """The steps of the network on one kind of device."""

    #: ``cpu``, ``cuda`` …
    device: str

    def encode(self, strips: Image, reference: Image) -> Features:
        """Return the features of strips (n, H, W) beside a reference picture (H, W)."""
        ...

    def pooled(self, features: Neighbours[Features], planes: FloatArray) -> Pooled:
        """Return the pooled values of a batch; ``planes`` are float32 (4, h, w)."""
        ...

    def judged(self, pooled: Neighbours[Pooled]) -> FloatArray:
        """Return presence and same-text probabilities of a batch, float32 (2, n)."""
        ...


class NetworkPredictor(Generic[Features, Pooled]):
    """A :class:`~modal_gpu.extents.predictor.PairPredictor` around a trained network."""

    margin: int | None = MARGIN

    def __init__(
        self, backend: NetworkBackend[Features, Pooled], model_version: str, model_sha256: str
    ) -> None:
        """``model_sha256`` is that of the checkpoint, whichever backend runs it."""
        self.backend = backend
        self.model_version = model_version
        self.model_sha256 = model_sha256

    @property
    def device(self) -> str:
        """The device that the network runs on."""
        return self.backend.device

    def predict(
        self, frames: Iterable[StripFrame], hints: StripHints, first_index: int = 0
    ) -> Iterator[PairBatch]:
        """Predict strips of one size that come in index order from ``first_index``, a multiple of 32.

        A batch is final when the two after it were read; in a video with fewer than 16 stored
        strips, when its block of 512 frames is complete. Raises ``ValueError`` when an index is
        missing or a strip differs in size.
        """
        if first_index % BATCH:
            raise ValueError(f"a part begins at a multiple of {BATCH}, not at {first_index}")
        strips = WorkingStrips(frames, hints, first_index)
        features: list[Features] = []  # of the last two batches
        pooled: list[Pooled] = []
        planes: NDArray[np.float32] | None = None
        index = first_index
        for batch, reference in with_references(strips, hints.samples):
            if planes is None:
                planes = hint_planes(strips.size, hints)
            features.append(self.backend.encode(np.stack(batch), reference))
            if len(features) > 1:
                pooled.append(self.backend.pooled(Neighbours.of(features, len(features) - 2), planes))
                del features[:-2]
            if len(pooled) > 1:
                yield self._batch(pooled, len(pooled) - 2, index)
                del pooled[:-2]
                index += BATCH
        if planes is None:
            return
        pooled.append(self.backend.pooled(Neighbours.of(features, len(features) - 1), planes))
        for place in range(max(0, len(pooled) - 2), len(pooled)):
            yield self._batch(pooled, place, index)
            index += BATCH

    def _batch(self, pooled: list[Pooled], place: int, index: int) -> PairBatch:
        presence, same = self.backend.judged(Neighbours.of(pooled, place))
        return PairBatch(index, presence, same)
