"""Google Vision's document text detection as an OCR engine. It sends frames in montages.

Google's client is imported when an engine is created.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from modal_gpu.errors import OcrError, RefusedImageError
from modal_gpu.ocr.engine import BatchLimits, OcrLine, Reading
from modal_gpu.ocr.vision_batches import (
    REQUEST_IMAGES,
    Montage,
    MontageLimits,
    encode_montages,
    plan_montages,
    plan_requests,
)
from modal_gpu.ocr.vision_lines import lines_of_places, words_of
from modal_gpu.ocr.vision_settings import VisionSettings
from modal_gpu.ocr.vision_tally import ImageTally

#: Pixels of one batch: 75 MB, plus as much for its montage. A montage's limit leaves room for the bars, so a
#: batch becomes one image, whatever the size of its frames.
_BATCH_PIXELS = 25_000_000


class GoogleVisionEngine:
    """A :class:`~modal_gpu.ocr.engine.BatchOcrEngine` on one connection."""

    def __init__(self, settings: VisionSettings, tally: ImageTally | None = None) -> None:
        """Load the credentials; the first call connects. ``tally`` counts billed images and may be shared.

        Raises :class:`ConfigurationError` without usable credentials.
        """
        from modal_gpu.ocr.vision_client import VisionClient

        self.settings = settings
        self._montage_limits = MontageLimits(images=settings.montage_images)
        self._client = VisionClient(settings, tally)

    @property
    def batch_limits(self) -> BatchLimits:
        """Limits of a batch; see :class:`modal_gpu.ocr.engine.BatchOcrEngine`."""
        return BatchLimits(max(self.settings.montage_images, REQUEST_IMAGES), _BATCH_PIXELS)

    def recognize(self, image: np.ndarray) -> list[OcrLine]:
        """Read a batch of one image; see :class:`modal_gpu.ocr.engine.OcrEngine`."""
        [reading] = self.recognize_batch([image])
        if isinstance(reading, OcrError):
            raise reading
        return reading

    def recognize_batch(self, images: Sequence[np.ndarray]) -> list[Reading]:
        """Read several images; see :class:`modal_gpu.ocr.engine.BatchOcrEngine`.

        The frames of a montage that Vision rejects, and frames with a word across the bar between them,
        are sent again separately.
        """
        for image in images:
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
                raise OcrError(f"OCR takes uint8 RGB images of H × W × 3, not {image.dtype} {image.shape}")
        sizes = [image.shape[:2] for image in images]
        readings = self._read(images, plan_montages(sizes, self._montage_limits))
        alone = [index for index, reading in readings.items() if reading is None]
        singles = [montage for index in alone for montage in plan_montages([sizes[index]], _SINGLE, index)]
        readings |= self._read(images, singles)
        return [reading for _, reading in sorted(readings.items()) if reading is not None]

    def _read(self, images: Sequence[np.ndarray], montages: Iterable[Montage]) -> dict[int, Reading | None]:
        """Return the readings by index; ``None`` for a frame that must be read separately."""
        encoded = [pair for montage in montages for pair in encode_montages(images, montage)]
        readings: dict[int, Reading | None] = {}
        for request in plan_requests([len(jpeg) for _, jpeg in encoded]):
            sent = [encoded[place] for place in request]
            answers = self._client.annotate([jpeg for _, jpeg in sent])
            for (montage, _), answer in zip(sent, answers, strict=True):
                indices = [place.index for place in montage.places]
                if isinstance(answer, OcrError):
                    # One frame may have caused a rejection; transient errors were already retried.
                    again = isinstance(answer, RefusedImageError) and len(indices) > 1
                    readings |= dict.fromkeys(indices, None if again else answer)
                else:
                    found = lines_of_places(words_of(answer, montage), montage)
                    readings |= dict(zip(indices, map(self._confident, found), strict=True))
        return readings

    def _confident(self, lines: list[OcrLine] | None) -> list[OcrLine] | None:
        if lines is None:
            return None
        return [line for line in lines if line.confidence >= self.settings.min_confidence]

    def close(self) -> None:
        """Close the connection; a call in progress ends with an error."""
        self._client.close()


_SINGLE = MontageLimits(images=1)
