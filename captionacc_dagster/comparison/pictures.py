"""Pictures of caption strips out of stored chunks, for the report."""

import base64
from collections.abc import Callable, Iterator

import numpy as np

from captionacc_dagster.comparison.captions import Group
from captionacc_dagster.comparison.sides import Picture, Side, SideCaption
from modal_gpu.errors import DamagedChunkError, ObjectNotFoundError
from modal_gpu.frame_index import LEVELS, ChunkRef, level_of


def stored_pictures(fetch: Callable[[ChunkRef], bytes], frame_count: int) -> Picture:
    """Return the pictures of a version's chunks; a frame whose chunk is missing or damaged has none."""
    # Loads the decoder, which the command line is not to wait for.
    from modal_gpu.media.chunks import ChunkReader

    reader = ChunkReader(fetch, frame_count) if frame_count else None

    def picture(index: int) -> np.ndarray | None:
        if reader is None or not 0 <= index < frame_count:
            return None
        try:
            return next(image for _, image in reader.at([index]))
        except (ObjectNotFoundError, DamagedChunkError):
            return None

    return picture


def pictures_of(group: Group, old: Side, new: Side) -> tuple[bytes | None, bytes | None]:
    """Return the strip of each side, as WebP, while the captions of the group are shown.

    A side without a caption there has the picture of the time at which the other one has it.
    """
    from modal_gpu.media.images import encode_webp

    found: list[bytes | None] = []
    for side, own, others in ((old, group.old, group.new), (new, group.new, group.old)):
        pictures = map(side.picture, _indices(own or others))
        image = next((picture for picture in pictures if picture is not None), None)
        found.append(None if image is None else encode_webp(image))
    return found[0], found[1]


def _indices(captions: tuple[SideCaption, ...]) -> Iterator[int]:
    """Yield the middle index of each level in a caption, finest first: a level's chunk may be missing."""
    # A file's times may begin before the video.
    frames = [index for index in captions[0].frames or () if index >= 0]
    for level in reversed(LEVELS):
        own = [index for index in frames if level_of(index) == level]
        yield from own[len(own) // 2 :][:1]


def data_address(webp: bytes) -> str:
    """Return a picture as an address that holds it, for a page that is one file."""
    return f"data:image/webp;base64,{base64.b64encode(webp).decode()}"
