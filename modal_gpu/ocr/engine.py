"""The interface of OCR engines: lines of text with their boxes and confidences."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from modal_gpu.errors import ContractError, OcrError

FrameStatus = Literal["ok", "empty", "failed"]


@dataclass(frozen=True)
class Box:
    """A rectangle in fractions of the image, origin top left, y down.

    Raises :class:`ContractError` unless ``0 <= left < right <= 1`` and ``0 <= top < bottom <= 1``.
    """

    left: float
    top: float
    right: float
    bottom: float

    def __post_init__(self) -> None:
        sides = (self.left, self.top, self.right, self.bottom)
        inside = 0 <= self.left < self.right <= 1 and 0 <= self.top < self.bottom <= 1
        if not (all(map(math.isfinite, sides)) and inside):
            raise ContractError(f"box {sides} is not inside [0, 1] with left < right and top < bottom")

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top

    @property
    def center_x(self) -> float:
        return (self.left + self.right) / 2

    @property
    def center_y(self) -> float:
        return (self.top + self.bottom) / 2

    @property
    def area(self) -> float:
        return self.width * self.height

    def intersection(self, other: "Box") -> float:
        """Return the shared area; 0 if the boxes only touch."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, width) * max(0.0, height)

    def overlap(self, other: "Box") -> float:
        """Return the intersection over union, in [0, 1]."""
        shared = self.intersection(other)
        return shared / (self.area + other.area - shared)

    def union(self, other: "Box") -> "Box":
        """Return the smallest box that contains both."""
        return Box(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )


@dataclass(frozen=True)
class OcrLine:
    """One line of text; ``confidence`` is the engine's own, in [0, 1]."""

    text: str
    confidence: float
    box: Box

    def __post_init__(self) -> None:
        if not 0 <= self.confidence <= 1:
            raise ContractError(f"confidence {self.confidence} of {self.text[:100]!r} is not in [0, 1]")


@dataclass(frozen=True)
class FrameOcr:
    """The reading of one frame: ``ok`` with lines, ``empty`` without, or ``failed`` with an error."""

    frame_index: int
    status: FrameStatus
    lines: tuple[OcrLine, ...] = ()
    error: str = ""

    def __post_init__(self) -> None:
        if (self.status == "ok") != bool(self.lines) or (self.status == "failed") != bool(self.error):
            raise ContractError(
                f"frame {self.frame_index}: status {self.status!r} does not go with "
                f"{len(self.lines)} lines and error {self.error[:100]!r}"
            )

    @classmethod
    def of(cls, frame_index: int, lines: "list[OcrLine] | tuple[OcrLine, ...]") -> "FrameOcr":
        """Build the reading of a frame that was read, with or without text."""
        return cls(frame_index, "ok" if lines else "empty", tuple(lines))


class OcrEngine(Protocol):
    """An engine that reads one image at a time. Not thread-safe: use one engine per worker."""

    def recognize(self, image: np.ndarray) -> list[OcrLine]:
        """Return the text lines of an image (uint8 RGB, H × W × 3), top to bottom; empty without text.

        Raises :class:`OcrError` when the engine fails.
        """
        ...


@dataclass(frozen=True)
class BatchLimits:
    """Limits of an engine's batches. A single image may exceed them.

    ``pixels`` is the sum of height × width over the images.
    """

    images: int = 1
    pixels: int | None = None


#: The reading of one image of a batch: its lines, or the error that prevented it.
Reading = list[OcrLine] | OcrError


@runtime_checkable
class BatchOcrEngine(Protocol):
    """An engine that reads several images per call, for services that bill and limit calls.

    Not thread-safe, except that :meth:`close` may be called from another thread.
    """

    @property
    def batch_limits(self) -> BatchLimits:
        """Limits of one call of :meth:`recognize_batch`."""
        ...

    def recognize_batch(self, images: Sequence[np.ndarray]) -> list[Reading]:
        """Return one reading per image (uint8 RGB, H × W × 3, sizes may differ), in their order.

        The reading of an image that could not be read is its :class:`OcrError`. Raises
        :class:`ConfigurationError` if no image can be read, for example with refused credentials.
        """
        ...

    def close(self) -> None:
        """Close connections; a call in progress ends soon, with errors."""
        ...
