"""Memory does not follow the size of frames: queues are bounded by bytes, very large frames are scaled."""

from pathlib import Path

import numpy as np
import pytest

from modal_gpu.byte_queue import items_within
from modal_gpu.contracts import CropRegion
from modal_gpu.functions.feed import Feed
from modal_gpu.media import geometry
from modal_gpu.media.chunks import ChunkWriter
from modal_gpu.media.decoding import decoding_threads
from modal_gpu.media.frames import CroppedFrame, read_cropped_frames, read_full_frames
from modal_gpu.media.geometry import working_size
from modal_gpu.media.probe import probe
from tests.modal_gpu.media.stamped_clips import Clip, every, read_stamp

MEGABYTE = 2**20


@pytest.mark.parametrize(
    ("item", "most", "limit", "count"),
    [
        (0, 64, MEGABYTE, 64),
        (10, 64, MEGABYTE, 64),
        (MEGABYTE // 4, 64, MEGABYTE, 4),
        (9 * MEGABYTE, 64, MEGABYTE, 1),
    ],
)
def test_as_many_items_wait_as_fit_and_at_least_one(item: int, most: int, limit: int, count: int):
    assert items_within(item, most, limit) == count


@pytest.mark.parametrize(
    ("size", "worked_on"),
    [
        ((1280, 720), (1280, 720)),
        ((4096, 2160), (4096, 2160)),
        ((7680, 4320), (4096, 2304)),
        ((8192, 8192), (3072, 3072)),
    ],
)
def test_only_frames_beyond_4k_are_scaled(size: tuple[int, int], worked_on: tuple[int, int]):
    assert working_size(*size) == worked_on


@pytest.mark.parametrize("rotation", [0, 90])
def test_a_scaled_video_shows_the_same_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rotation: int):
    path = Clip(every(10, 12), rotation=rotation).write(tmp_path)
    monkeypatch.setattr(geometry, "MAX_WORKING_PIXELS", 160 * 48)
    info = probe(path)
    assert (info.width, info.height) == (160, 48)
    crops = list(read_cropped_frames(path, CropRegion(0, 0.5, 1, 1), info=info))
    assert [read_stamp(frame.luma) for frame in crops] == list(range(12))
    assert crops[0].luma.shape == (24, 160)
    [full] = read_full_frames(path, [5], info=info)
    assert (full.image.shape, read_stamp(full.image)) == ((48, 160, 3), 5)


def test_queues_of_large_frames_are_short():
    large = CroppedFrame(0, np.zeros((3 * 1536, 3072), np.uint8), 0.0, 1)
    with ChunkWriter() as writer:
        writer.write(large)
        assert writer._waiting.maxsize == items_within(large.yuv.nbytes, 64) == 2
    with Feed[CroppedFrame, int](
        lambda fed: sum(1 for _ in fed), size=lambda frame: frame.yuv.nbytes
    ) as feed:
        feed.put(large)
        assert feed._queue.maxsize == 2
        assert feed.result() == 1


def test_a_decoder_of_large_frames_has_fewer_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    info = probe(Clip(every(10, 2)).write(tmp_path))
    assert decoding_threads(8, info) == 8
    monkeypatch.setattr("modal_gpu.media.decoding._THREAD_BYTES", 2 * 320 * 96 * 3)
    assert decoding_threads(8, info) == 2
