"""The facts of good videos, and a clear error for every other file."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from av.video.frame import VideoFrame
from hypothesis import given
from hypothesis import strategies as st
from stamped_clips import Clip, every, packet_positions

from modal_gpu.contracts import CropRegion
from modal_gpu.errors import BadVideoError, NoFramesError, NotAVideoError, NoVideoStreamError
from modal_gpu.media.frames import read_cropped_frames, read_full_frames
from modal_gpu.media.geometry import Orientation, square_pixel_size
from modal_gpu.media.probe import probe


def test_a_good_video_is_described(tmp_path):
    info = probe(Clip(every(25, 50)).write(tmp_path))
    assert (info.width, info.height, info.rotation) == (320, 96, 0)
    assert (info.codec, info.pixel_format, info.has_audio) == ("h264", "yuv420p", False)
    assert info.average_rate == 25
    assert info.index_count == 20
    assert info.duration == pytest.approx(2, abs=0.02)
    assert info.bitrate > 0
    assert not info.ended_early


def _write_audio(container, seconds: int = 1) -> None:
    stream = container.add_stream("aac", rate=16_000)
    frame = av.AudioFrame.from_ndarray(
        np.zeros((1, 16_000 * seconds), np.float32), format="fltp", layout="mono"
    )
    frame.sample_rate, frame.pts = 16_000, 0
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _write_pictures(container, stream, shade: int, count: int) -> None:
    for number in range(count):
        picture = np.full((stream.height, stream.width), shade, np.uint8)
        frame = VideoFrame.from_ndarray(picture, format="gray8").reformat(format=stream.pix_fmt)
        frame.pts, frame.time_base = number, Fraction(1, 25)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _add_video(container, codec: str, size: tuple[int, int], pixel_format: str = "yuv420p"):
    stream = container.add_stream(codec, rate=25)
    stream.width, stream.height = size
    stream.pix_fmt = pixel_format
    return stream


def _audio_only(path: Path) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        _write_audio(container)


def _header_without_frames(path: Path, container_format: str = "mp4", movflags: str = "empty_moov") -> None:
    options = {"movflags": movflags} if container_format == "mp4" else {}
    with av.open(str(path), "w", format=container_format, options=options) as container:
        _add_video(container, "libx264", (64, 64))
        container.start_encoding()


def _one_pixel(path: Path) -> None:
    with av.open(str(path), "w", format="matroska") as container:
        _write_pictures(container, _add_video(container, "ffv1", (1, 1), "gray"), 100, 3)


def _nothing_decodable(path: Path) -> None:
    written = Clip(every(25, 10)).write(path.parent)
    data = bytearray(written.read_bytes())
    for start, size in packet_positions(written):
        data[start : start + size] = bytes(size)
    path.write_bytes(data)


def _without_index(path: Path) -> None:
    data = Clip(every(25, 10)).write(path.parent).read_bytes()
    path.write_bytes(data[: data.index(b"moov") - 4])


def _picture(path: Path) -> None:
    with av.open(str(path), "w", format="image2") as container:
        _write_pictures(container, _add_video(container, "mjpeg", (64, 64), "yuvj420p"), 100, 1)


BAD = {
    "empty": (lambda path: path.write_bytes(b""), NotAVideoError, "the file is empty"),
    "text": (lambda path: path.write_text("1\n00:00:01,000 --> 00:00:02,000\nHello\n" * 50), None, ""),
    "random bytes": (
        lambda path: path.write_bytes(np.random.default_rng(1).bytes(50_000)),
        NotAVideoError,
        "not a video",
    ),
    "playlist that names another file": (
        lambda path: path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nother.mp4\n"),
        NotAVideoError,
        "not a video",
    ),
    "concat script": (
        lambda path: path.write_text("ffconcat version 1.0\nfile '/etc/passwd'\n"),
        NotAVideoError,
        "not a video",
    ),
    "picture": (_picture, NotAVideoError, "not a video"),
    "no index": (_without_index, NotAVideoError, "cut off before its index"),
    "audio only": (_audio_only, NoVideoStreamError, "holds only audio"),
    "header without frames": (_header_without_frames, NoFramesError, "its video stream is empty"),
    "MP4 header without tracks": (
        lambda path: _header_without_frames(path, movflags="faststart"),
        NoVideoStreamError,
        "no stream at all",
    ),
    "Matroska header without frames": (
        lambda path: _header_without_frames(path, "matroska"),
        NoFramesError,
        "holds no frames",
    ),
    "nothing decodable": (_nothing_decodable, NoFramesError, "none of its 10 packets can be decoded"),
    "1×1 frames": (_one_pixel, BadVideoError, "1×1 pixels, too small"),
}


@pytest.mark.parametrize(("make", "error", "message"), BAD.values(), ids=BAD.keys())
def test_a_file_that_is_not_a_video_is_a_typed_error_of_one_line(tmp_path, make, error, message):
    path = tmp_path / "upload.mp4"
    make(path)
    for attempt in (
        lambda: probe(path),
        lambda: next(read_cropped_frames(path, CropRegion(0, 0, 1, 1))),
        lambda: next(read_full_frames(path, [0])),
    ):
        with pytest.raises(error or NotAVideoError) as caught:
            attempt()
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
        assert str(tmp_path) not in str(caught.value)
        assert not caught.value.retryable


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.mp4"):
        probe(tmp_path / "nowhere.mp4")


def test_audio_beside_the_video_is_seen(tmp_path):
    path = tmp_path / "with_audio.mp4"
    with av.open(str(path), "w") as container:
        stream = _add_video(container, "libx264", (64, 64))
        _write_audio(container, seconds=5)
        _write_pictures(container, stream, 90, 50)
    info = probe(path)
    assert info.has_audio
    assert info.index_count == 20, "the longer audio does not count"
    assert not info.ended_early


def test_cover_art_is_not_taken_for_the_video(tmp_path):
    path = tmp_path / "cover.mp4"
    with av.open(str(path), "w") as container:
        cover = _add_video(container, "mjpeg", (640, 640), "yuvj420p")
        cover.disposition = Disposition.attached_pic
        footage = _add_video(container, "libx264", (64, 64))
        _write_pictures(container, cover, 200, 1)
        _write_pictures(container, footage, 90, 50)
    assert (probe(path).width, probe(path).codec) == (64, "h264")


def test_of_two_videos_the_default_one_is_taken_else_the_larger(tmp_path):
    for dispositions, width in (((0, 1), 64), ((1, 0), 128), ((1, 1), 128)):
        path = tmp_path / "two.mkv"
        with av.open(str(path), "w", options={"default_mode": "passthrough"}) as container:
            streams = [_add_video(container, "libx264", size) for size in ((128, 128), (64, 64))]
            for stream, default in zip(streams, dispositions, strict=True):
                stream.disposition = Disposition.default if default else Disposition(0)
            for stream in streams:
                _write_pictures(container, stream, 90, 10)
        assert probe(path).width == width


def test_a_colon_in_a_file_name_does_not_make_a_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Clip(every(25, 3)).write(tmp_path).rename("http:x.mp4")
    assert probe("http:x.mp4").index_count == 2


def test_square_pixels_grow_the_short_side_and_leave_rounding_alone():
    assert square_pixel_size(720, 576, Fraction(64, 45)) == (1024, 576)
    assert square_pixel_size(1080, 1080, Fraction(9, 16)) == (1080, 1920)
    for aspect in (None, Fraction(1), Fraction(202, 203), Fraction(100, 1)):
        assert square_pixel_size(406, 720, aspect) == (406, 720)


@given(st.booleans(), st.booleans(), st.booleans(), st.data())
def test_cropping_stored_pixels_is_cropping_upright_ones(transposed, flip_x, flip_y, data):
    orientation = Orientation(transposed, flip_x, flip_y)
    stored = np.arange(7 * 9).reshape(7, 9)
    upright = orientation.apply(stored)
    height, width = upright.shape
    assert orientation.size(9, 7) == (width, height)
    left = data.draw(st.integers(0, width - 1))
    top = data.draw(st.integers(0, height - 1))
    right = data.draw(st.integers(left + 1, width))
    bottom = data.draw(st.integers(top + 1, height))
    x0, y0, x1, y1 = orientation.stored_rectangle((left, top, right, bottom), width, height)
    assert (orientation.apply(stored[y0:y1, x0:x1]) == upright[top:bottom, left:right]).all()
