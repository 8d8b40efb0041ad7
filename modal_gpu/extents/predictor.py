"""The interface of caption extents predictors: their input, their output and the algebra of pair labels.

A predictor reads every 10 Hz caption strip once, in order, and returns for each frame the probability
that a caption is visible, and for each neighbouring pair the probability that both show the same text.
The probabilities of the five pair labels follow from these, so they can never contradict each other:
with ``a`` and ``b`` the presence of the two frames and ``s`` the same-text probability,

    same = a·b·s            different   = a·b·(1 − s)
    empty_empty = (1 − a)(1 − b)   empty_valid = (1 − a)·b   valid_empty = a·(1 − b)
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from modal_gpu.contracts import CropRegion
from modal_gpu.extents.stored_strips import StoredStrips

#: Pair labels in the order of the probability columns.
LABELS = ("same", "different", "empty_empty", "empty_valid", "valid_empty")
#: Column of each label when the pair is read in the other direction.
REVERSED_COLUMNS = (0, 1, 2, 4, 3)

FloatArray = NDArray[np.float32]
#: ``(left, top, right, bottom)`` as fractions.
FractionBox = tuple[float, float, float, float]


class StripFrame(Protocol):
    """One cropped caption strip. ``luma`` is uint8 (height, width); :meth:`rgb` is computed on demand."""

    @property
    def index(self) -> int: ...

    @property
    def luma(self) -> NDArray[np.uint8]: ...

    def rgb(self) -> NDArray[np.uint8]: ...


@dataclass(frozen=True)
class Observation:
    """The OCR result of a sampled full frame, for the strip at ``index``.

    ``caption_boxes`` are the lines identified as captions, as fractions of the strip. An empty tuple
    means that the frame shows no caption.
    """

    index: int
    caption_boxes: tuple[FractionBox, ...] = ()


@dataclass(frozen=True)
class StripHints:
    """The results of layout analysis for a video's strips; all coordinates are fractions of the strip.

    ``line_height`` is the height of one caption line's OCR box, a guess unless ``line_height_seen``;
    ``anchor_position`` is the x at which captions are anchored (``None``: unknown). ``ignore_boxes`` hold
    static text that is not a caption. ``samples`` are the stored strips from all over the video.
    """

    line_height: float
    vertical_center: float = 0.5
    anchor_type: str | None = None
    anchor_position: float | None = None
    ignore_boxes: tuple[FractionBox, ...] = ()
    observations: tuple[Observation, ...] = ()
    samples: StoredStrips = field(default_factory=StoredStrips, compare=False)
    line_height_seen: bool = True

    @classmethod
    def from_frame_layout(
        cls,
        crop: CropRegion,
        *,
        box_height: float,
        vertical_center: float,
        anchor_type: str | None = None,
        anchor_position: float | None = None,
        ignore_boxes: Iterable[FractionBox] = (),
        caption_boxes: Iterable[tuple[int, Sequence[FractionBox]]] = (),
        line_height_seen: bool = True,
    ) -> "StripHints":
        """Build hints from a layout in fractions of the upright frame.

        ``caption_boxes`` pairs each sampled frame index with its caption lines, an empty sequence for a
        frame without a caption. Boxes are clipped to the strip; boxes outside it are dropped.
        """
        width, height = crop.crop_right - crop.crop_left, crop.crop_bottom - crop.crop_top

        def in_strip(boxes: Iterable[FractionBox]) -> tuple[FractionBox, ...]:
            found = []
            for left, top, right, bottom in boxes:
                clipped = (
                    min(max((left - crop.crop_left) / width, 0.0), 1.0),
                    min(max((top - crop.crop_top) / height, 0.0), 1.0),
                    min(max((right - crop.crop_left) / width, 0.0), 1.0),
                    min(max((bottom - crop.crop_top) / height, 0.0), 1.0),
                )
                if clipped[0] < clipped[2] and clipped[1] < clipped[3]:
                    found.append(clipped)
            return tuple(found)

        return cls(
            line_height=box_height / height,
            vertical_center=(vertical_center - crop.crop_top) / height,
            anchor_type=anchor_type,
            anchor_position=None if anchor_position is None else (anchor_position - crop.crop_left) / width,
            ignore_boxes=in_strip(ignore_boxes),
            observations=tuple(Observation(index, in_strip(boxes)) for index, boxes in caption_boxes),
            line_height_seen=line_height_seen,
        )


@dataclass(frozen=True)
class PairBatch:
    """Predictions for consecutive frames ``[first_index, first_index + k)``.

    ``presence`` is float32 (k,). ``same`` is float32 (k,): entry ``j`` compares frame
    ``first_index + j`` with the one before it; it is undefined for the video's first frame.
    """

    first_index: int
    presence: FloatArray
    same: FloatArray


@dataclass(frozen=True)
class PairPredictions:
    """Label probabilities of every neighbouring pair of a video.

    ``forward`` and ``backward`` are float32 (n − 1, 5) for n frames, columns as :data:`LABELS`;
    row ``i`` is the pair (i, i + 1), read backward as (i + 1, i). Rows sum to 1.
    ``presence`` is float32 (n,).
    """

    presence: FloatArray
    forward: FloatArray
    backward: FloatArray

    @property
    def frame_count(self) -> int:
        return len(self.presence)

    def label_counts(self) -> dict[str, int]:
        """Count the pairs for which each label is the most probable one, forward."""
        counts = (
            np.bincount(self.forward.argmax(axis=1), minlength=len(LABELS)) if len(self.forward) else [0] * 5
        )
        return {label: int(count) for label, count in zip(LABELS, counts, strict=True)}


def label_probabilities(presence: FloatArray, same: FloatArray) -> FloatArray:
    """Return the label probabilities, float32 (n − 1, 5), of presence (n,) and same (n − 1,)."""
    before, after = presence[:-1].astype(np.float64), presence[1:].astype(np.float64)
    both = before * after
    columns = (
        both * same,
        both * (1 - same),
        (1 - before) * (1 - after),
        (1 - before) * after,
        before * (1 - after),
    )
    return np.stack(columns, axis=1).astype(np.float32)


def predictions(
    presence: FloatArray, same: FloatArray, same_backward: FloatArray | None = None
) -> PairPredictions:
    """Return both directions from presence (n,) and same-text probabilities (n − 1,).

    A predictor whose comparison is not symmetric passes ``same_backward`` too.
    """
    forward = label_probabilities(presence, same)
    backward = label_probabilities(presence, same if same_backward is None else same_backward)
    return PairPredictions(presence, forward, backward[:, REVERSED_COLUMNS])


def collect(batches: Iterable[PairBatch]) -> PairPredictions:
    """Join all batches of a video. Raises ``ValueError`` unless they follow each other from index 0."""
    presence: list[FloatArray] = []
    same: list[FloatArray] = []
    count = 0
    for batch in batches:
        if batch.first_index != count:
            raise ValueError(f"batch starts at frame {batch.first_index}, expected {count}")
        presence.append(batch.presence)
        same.append(batch.same)
        count += len(batch.presence)
    if not count:
        empty = np.zeros(0, np.float32)
        return PairPredictions(empty, np.zeros((0, 5), np.float32), np.zeros((0, 5), np.float32))
    return predictions(np.concatenate(presence), np.concatenate(same)[1:])


class PairPredictor(Protocol):
    """Predicts which frames show a caption and which neighbours show the same one.

    :meth:`predict` reads the frames once, in index order without gaps from ``first_index``, holds a
    bounded number of them, and yields each batch as soon as it is final.
    """

    model_version: str
    #: Hash of the model file, or of the algorithm's parameters when there is no file.
    model_sha256: str

    @property
    def margin(self) -> int | None:
        """Frames that it must read before and after a part of a video (as far as they exist) to judge the
        part exactly as in the complete video; ``None`` when it needs the complete video.
        """
        ...

    def predict(
        self, frames: Iterable[StripFrame], hints: StripHints, first_index: int = 0
    ) -> Iterator[PairBatch]: ...


class DevicePredictor(PairPredictor, Protocol):
    """A predictor that says on which kind of device it runs."""

    @property
    def device(self) -> str:
        """``cpu``, ``cuda`` …"""
        ...
