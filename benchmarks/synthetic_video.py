"""The files of a finished video without a video: drawn strips, readings that nobody read, captions.

Layout, chunks and databases are written by the product's own code, so that every route of the HTTP API
answers from them as from real ones.
"""

import tempfile
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from modal_gpu.databases.captions import Caption, write_captions
from modal_gpu.databases.raw_ocr import write_raw_ocr
from modal_gpu.functions.layout import publish_layout
from modal_gpu.keys import VideoKeys
from modal_gpu.media.chunks import write_chunks
from modal_gpu.media.frames import CroppedFrame
from modal_gpu.media.images import encode_jpeg
from modal_gpu.ocr.engine import Box, FrameOcr, OcrLine
from modal_gpu.storage import ObjectStore

#: Height × width of a strip, and of the video, in pixels.
STRIP, FRAME = (48, 320), (360, 640)
_ITU709 = 1


def strips(count: int) -> Iterator[CroppedFrame]:
    """Yield the strip of each 10 Hz index: noise, and for one second of two a line of text."""
    height, width = STRIP
    random = np.random.default_rng(7)
    for index in range(count):
        luma = random.integers(60, 90, (height, width), dtype=np.uint8)
        if index // 10 % 2:
            cv2.putText(luma, f"Caption {index // 20}", (20, 34), cv2.FONT_HERSHEY_SIMPLEX, 0.9, (235,), 2)
        chroma = np.full((height // 2, width), 128, np.uint8)
        yield CroppedFrame(index, np.concatenate([luma, chroma]), index / 10, _ITU709)


def captions(count: int) -> list[Caption]:
    """Return captions of half a second, one for each second from 1 on, which OCR has read."""
    return [
        Caption(
            10 * number,
            10 * number + 5,
            float(number),
            number + 0.5,
            id=number,
            confidence=0.97,
            ocr_text=f"Caption number {number}.",
            ocr_confidence=0.9 if number % 7 else 0.99,
            ocr_status="completed",
        )
        for number in range(1, count + 1)
    ]


def readings(frame_count: int) -> list[FrameOcr]:
    """Return OCR's readings of one full frame a second, each with a caption and a static line."""
    logo = OcrLine("NEWS", 0.99, Box(0.02, 0.03, 0.12, 0.08))
    return [
        FrameOcr.of(index, [OcrLine(f"Caption {index} of these", 0.95, Box(0.2, 0.85, 0.8, 0.92)), logo])
        for index in range(0, frame_count, 10)
    ]


@dataclass(frozen=True)
class SyntheticFiles:
    """A finished video's objects, by the part of their key that follows the tenant's and names no video."""

    client: dict[str, bytes]
    server: dict[str, bytes]

    @classmethod
    def made(
        cls, frame_count: int = 80, shown: Sequence[Caption] | None = None, version: int = 1
    ) -> "SyntheticFiles":
        """Make the files of a video of ``frame_count`` 10 Hz indices."""
        with tempfile.TemporaryDirectory(prefix="captionacc-synthetic-") as folder:
            store = ObjectStore.from_url(Path(folder, "bucket").as_uri())
            keys = VideoKeys(str(uuid.uuid4()), str(uuid.uuid4()))
            for chunk in write_chunks(strips(frame_count)):
                store.put(keys.chunk(version, chunk.ref), chunk.data)
            frames = readings(frame_count)
            store.put(keys.raw_ocr_db, write_raw_ocr(frames))
            height, width = FRAME
            publish_layout(store, keys, frames, width, height)
            picture = np.full((height, width, 3), 90, np.uint8)
            for frame in frames:
                store.put(keys.full_frame(frame.frame_index), encode_jpeg(picture))
                store.put(keys.thumbnail(frame.frame_index), encode_jpeg(picture[::4, ::4]))
            known = captions(frame_count // 10 - 1) if shown is None else shown
            store.put(keys.captions_db, write_captions(known))
            return cls(
                *(
                    {info.key.removeprefix(prefix): store.get(info.key) for info in store.list(prefix)}
                    for prefix in (keys.client_prefix, keys.server_prefix)
                )
            )

    def put(self, store: ObjectStore, keys: VideoKeys, only: Sequence[str] = ()) -> None:
        """Store the files as another video's; with ``only``, those whose names begin with one of these."""
        for prefix, files in ((keys.client_prefix, self.client), (keys.server_prefix, self.server)):
            for name, data in files.items():
                if not only or name.startswith(tuple(only)):
                    store.put(prefix + name, data)
