"""What a predictor of caption extents takes and gives, whatever is inside it.

A predictor sees every 10 Hz caption strip once, in order, and says for each frame how likely a
caption is visible and for each neighbouring pair how likely both show the same text. The five
pair labels and their probabilities follow from these, so that they can never contradict each
other: with ``a`` and ``b`` the presence of the two frames and ``s`` the same-text probability,

    same = a·b·s            different   = a·b·(1 − s)
    empty_empty = (1 − a)(1 − b)   empty_valid = (1 − a)·b   valid_empty = a·(1 − b)
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from modal_gpu.contracts import CropRegion

#: Pair labels in the order of the probability columns.
LABELS = ("same", "different", "empty_empty", "empty_valid", "valid_empty")
#: Column of each label when the pair is read in the other direction.
REVERSED_COLUMNS = (0, 1, 2, 4, 3)

FloatArray = NDArray[np.float32]
#: ``(left, top, right, bottom)`` as fractions.
FractionBox = tuple[float, float, float, float]


class StripFrame(Protocol):
    """One cropped caption strip. ``luma`` is uint8 (height, width); :meth:`rgb` is made on demand."""

    @property
    def index(self) -> int: ...

    @property
    def luma(self) -> NDArray[np.uint8]: ...

    def rgb(self) -> NDArray[np.uint8]: ...


@dataclass(frozen=True)
class Observation:
    """What OCR of a sampled full frame says about the strip at ``index``.

    ``caption_boxes`` are the lines taken for captions, as fractions of the strip; none of them
    means that the frame shows no caption.
    """

    index: int
    caption_boxes: tuple[FractionBox, ...] = ()


@dataclass(frozen=True)
class SampledStrip:
    """The strip of a stored full frame: ``luma`` is uint8 (height, width), the size of the video's strips."""

    index: int
    luma: NDArray[np.uint8]


@dataclass(frozen=True)
class StripHints:
    """What layout analysis knows about a video's strips; all coordinates are fractions of the strip.

    ``line_height`` is the height of one caption line's OCR box; ``anchor_position`` the x where
    captions are anchored (``None``: not known). ``ignore_boxes`` hold static text that is no caption.
    ``samples`` are strips from all over the video, in index order, as far as they are stored.
    """

    line_height: float
    vertical_center: float = 0.5
    anchor_type: str | None = None
    anchor_position: float | None = None
    ignore_boxes: tuple[FractionBox, ...] = ()
    observations: tuple[Observation, ...] = ()
    samples: tuple[SampledStrip, ...] = ()

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
    ) -> "StripHints":
        """Hints from a layout in fractions of the upright frame.

        ``caption_boxes`` gives each sampled frame index with its caption lines, none for a frame
        that was read and shows no caption. Boxes are clipped to the strip; those outside vanish.
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
        )


@dataclass(frozen=True)
class PairBatch:
    """Predictions for consecutive frames ``[first_index, first_index + k)``.

    ``presence`` is float32 (k,). ``same`` is float32 (k,): entry ``j`` compares frame
    ``first_index + j`` with the one before it; for the video's first frame it means nothing.
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
        """How many pairs have each label as their most probable one, forward."""
        counts = (
            np.bincount(self.forward.argmax(axis=1), minlength=len(LABELS)) if len(self.forward) else [0] * 5
        )
        return {label: int(count) for label, count in zip(LABELS, counts, strict=True)}


def label_probabilities(presence: FloatArray, same: FloatArray) -> FloatArray:
    """Probabilities of the five labels, float32 (n − 1, 5), from presence (n,) and same (n − 1,)."""
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
    """Both directions from presence (n,) and same-text probabilities (n − 1,).

    A predictor whose comparison isn't symmetric gives ``same_backward`` too.
    """
    forward = label_probabilities(presence, same)
    backward = label_probabilities(presence, same if same_backward is None else same_backward)
    return PairPredictions(presence, forward, backward[:, REVERSED_COLUMNS])


def collect(batches: Iterable[PairBatch]) -> PairPredictions:
    """All batches of a video, which must follow each other from index 0, as one result."""
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
    """Says which frames show a caption and which neighbours show the same one.

    :meth:`predict` reads the frames once, in index order without gaps from ``first_index``, holds a
    bounded number of them, and yields batches as soon as they are certain.
    """

    model_version: str
    #: Of the model file; of the algorithm's parameters when there is no file.
    model_sha256: str
    #: Frames that it must see before and after a part of a video (as far as there are any) to judge
    #: the part exactly as it would judge it in the whole video; ``None`` when it needs the whole video.
    margin: int | None

    def predict(
        self, frames: Iterable[StripFrame], hints: StripHints, first_index: int = 0
    ) -> Iterator[PairBatch]: ...
