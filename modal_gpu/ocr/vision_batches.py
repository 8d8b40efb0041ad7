"""Batches for Google Vision: frames stacked into montages, several montages per request.

Google bills images, so frames stacked into one image are billed as one. The limits documented at
https://cloud.google.com/vision/quotas and https://cloud.google.com/vision/docs/supported-files are:

* 16 images per request;
* 20 MB per image file, and 10 MB per JSON request, in which base64 makes images 4/3 as large;
* 75 M pixels per image (the service answers "Image too large. Please limit to 75 megapixels.").

No limit on gRPC requests is documented, so the limit on JSON requests is used. libjpeg writes at most 65,500
pixels per side.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from modal_gpu.media.images import encode_jpeg

REQUEST_IMAGES = 16
REQUEST_BYTES = 10_000_000
#: Image bytes of one request: 3/4 of a JSON request, minus room for its other content.
REQUEST_IMAGE_BYTES = REQUEST_BYTES * 7 // 10
IMAGE_PIXELS = 75_000_000
JPEG_SIDE = 65_500

#: Rows of grey between two frames, so that no text continues from one into the next.
BAR_HEIGHT = 16
_BAR_GREY = 128
#: JPEG qualities, tried in turn until the image fits into a request.
_QUALITIES = (92, 85, 75)


@dataclass(frozen=True)
class MontageLimits:
    """Limits of a montage. ``pixels`` is half of the service's limit, to bound a worker's memory."""

    images: int = 100
    pixels: int = 37_500_000
    side: int = JPEG_SIDE


@dataclass(frozen=True)
class Place:
    """The place of frame ``index`` of a batch: rows ``[top, top + height)``, columns ``[0, width)``."""

    index: int
    top: int
    width: int
    height: int

    @property
    def bottom(self) -> int:
        return self.top + self.height


@dataclass(frozen=True)
class Montage:
    """Frames stacked vertically and aligned left, with a bar between neighbours."""

    places: tuple[Place, ...]

    @property
    def width(self) -> int:
        return max(place.width for place in self.places)

    @property
    def height(self) -> int:
        return self.places[-1].bottom


def plan_montages(
    sizes: Sequence[tuple[int, int]], limits: MontageLimits, first_index: int = 0
) -> list[Montage]:
    """Arrange frames of ``sizes`` (height, width), in order, in as few montages as the limits allow.

    Places are numbered from ``first_index``. A frame that exceeds the limits gets its own montage.
    """
    montages: list[Montage] = []
    places: list[Place] = []
    for index, (height, width) in enumerate(sizes, first_index):
        if places:
            top = places[-1].bottom + BAR_HEIGHT
            together = max(width, max(place.width for place in places))
            if (
                len(places) < limits.images
                and together <= limits.side
                and top + height <= limits.side
                and together * (top + height) <= limits.pixels
            ):
                places.append(Place(index, top, width, height))
                continue
            montages.append(Montage(tuple(places)))
        places = [Place(index, 0, width, height)]
    if places:
        montages.append(Montage(tuple(places)))
    return montages


def plan_requests(byte_sizes: Sequence[int]) -> list[range]:
    """Divide images of ``byte_sizes``, in order, into ranges of one request each, within its limits.

    An image that exceeds the limit gets its own request.
    """
    requests: list[range] = []
    start = total = 0
    for index, size in enumerate(byte_sizes):
        if index > start and (index - start >= REQUEST_IMAGES or total + size > REQUEST_IMAGE_BYTES):
            requests.append(range(start, index))
            start, total = index, 0
        total += size
    if start < len(byte_sizes):
        requests.append(range(start, len(byte_sizes)))
    return requests


def encode_montages(
    images: Sequence[np.ndarray], montage: Montage, max_bytes: int = REQUEST_IMAGE_BYTES
) -> list[tuple[Montage, bytes]]:
    """Encode a montage of ``images`` as a JPEG, split in halves until each fits into ``max_bytes``.

    For a single frame that does not fit, first the quality and then the size is reduced. The size is free
    because places are read as fractions of the montage.
    """
    if len(montage.places) == 1:
        return [(montage, _encode_single(images[montage.places[0].index], max_bytes))]
    jpeg = encode_jpeg(_stacked(images, montage), _QUALITIES[0])
    if len(jpeg) <= max_bytes:
        return [(montage, jpeg)]
    middle = len(montage.places) // 2
    halves = (montage.places[:middle], montage.places[middle:])
    return [encoded for half in halves for encoded in encode_montages(images, _moved_to_top(half), max_bytes)]


def _stacked(images: Sequence[np.ndarray], montage: Montage) -> np.ndarray:
    canvas = np.full((montage.height, montage.width, 3), _BAR_GREY, np.uint8)
    for place in montage.places:
        canvas[place.top : place.bottom, : place.width] = images[place.index]
    return canvas


def _encode_single(image: np.ndarray, max_bytes: int) -> bytes:
    height, width = image.shape[:2]
    factor = min(1.0, JPEG_SIDE / max(height, width), (IMAGE_PIXELS / (height * width)) ** 0.5)
    while True:
        size = (max(1, int(width * factor)), max(1, int(height * factor)))
        fitting = image if factor == 1.0 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        for quality in _QUALITIES:
            jpeg = encode_jpeg(fitting, quality)
            if len(jpeg) <= max_bytes or size == (1, 1):
                return jpeg
        factor *= 0.7


def _moved_to_top(places: Sequence[Place]) -> Montage:
    top = places[0].top
    return Montage(tuple(Place(p.index, p.top - top, p.width, p.height) for p in places))
