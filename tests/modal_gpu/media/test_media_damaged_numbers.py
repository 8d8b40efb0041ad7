"""Files with one wrong field: what is readable is read, or there is one clear line, never PyAV's error."""

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.video.frame import VideoFrame

from modal_gpu.contracts import CropRegion
from modal_gpu.errors import BadVideoError, NoFramesError
from modal_gpu.media.frames import read_cropped_frames, read_full_frames
from modal_gpu.media.probe import probe
from tests.modal_gpu.media.stamped_clips import SIZE, Clip, every, stamped

#: Two seconds at 25 frames a second.
CLIP = Clip(every(25, 50), options={"preset": "ultrafast", "g": "10"})
FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
GIF = Clip(every(10, 20), suffix=".gif", codec="gif", pixel_format="rgb8", options={})


def unknown_codec(folder: Path) -> Path:
    return replaced(CLIP.write(folder), b"avc1", b"zzzz")


def unknown_codec_in_a_second_track(folder: Path) -> Path:
    return replaced(two_tracks(folder), b"mp4v", b"zzzz")


def unknown_codec_in_the_first_track(folder: Path) -> Path:
    return replaced(two_tracks(folder), b"avc1", b"zzzz")


def stray_packet(folder: Path, where: float) -> Path:
    """A transport stream with one packet of a PID that no table names, so that a stream appears there."""
    path = Clip(CLIP.times, suffix=".ts").write(folder)
    data = bytearray(path.read_bytes())
    for start in range(int(len(data) // 188 * where) * 188, len(data), 188):
        header = struct.unpack_from(">H", data, start + 1)[0]
        if header & 0x4000 and header & 0x1FFF == 0x100:
            struct.pack_into(">H", data, start + 1, header & 0xE000 | 0x1234)
            path.write_bytes(data)
            return path
    raise AssertionError("no packet of the video begins there")


def decode_time(folder: Path, value: bytes, place: Callable[[bytes, bytes], int]) -> Path:
    """Build a fragmented MP4 in which one fragment claims the decode time ``value``."""
    path = Clip(CLIP.times, options=CLIP.options, container_options=FRAGMENTED).write(folder)
    data = bytearray(path.read_bytes())
    at = place(data, b"tfdt") + 8
    data[at : at + len(value)] = value
    path.write_bytes(data)
    return path


def gif_screen(folder: Path, width: int, height: int) -> Path:
    path = GIF.write(folder)
    data = bytearray(path.read_bytes())
    struct.pack_into("<HH", data, 6, width, height)
    path.write_bytes(data)
    return path


def squeezed(folder: Path) -> Path:
    """8192 × 8192, each pixel four times as wide as high: 32768 × 8192 square ones."""
    with av.open(str(folder / "clip.mkv"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4)
        for number in range(3):
            frame = VideoFrame.from_ndarray(stamped(number, 64, 64), format="gray8").reformat(
                format="yuv420p"
            )
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return folder / "clip.mkv"


def promised(folder: Path, tag: bytes) -> Path:
    """A Matroska file whose statistics say when its track ends."""
    path = Clip(CLIP.times, suffix=".mkv").write(folder)
    data = path.read_bytes()
    at = data.index(b"00:00:02.0")
    assert len(tag) <= 18
    path.write_bytes(data[:at] + tag.ljust(18, b"\0") + data[at + 18 :])
    return path


def two_tracks(folder: Path) -> Path:
    path = folder / "two.mp4"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream(codec, rate=25) for codec in ("libx264", "mpeg4")]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for number in range(50):
            frame = VideoFrame.from_ndarray(stamped(number, *SIZE), format="gray8").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            for stream in streams:
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    return path


def replaced(path: Path, old: bytes, new: bytes) -> Path:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    return path


FAR = bytes.fromhex("7fffffff00000000")
Make = Callable[[Path], Path]
READABLE: dict[str, Make] = {
    "an unknown codec in a second track": unknown_codec_in_a_second_track,
    "an unknown codec in the first track": unknown_codec_in_the_first_track,
    "a stray packet in the middle": lambda folder: stray_packet(folder, 0.5),
    "a stray packet near the end": lambda folder: stray_packet(folder, 0.9),
    "a duration of 10**999999999 s": lambda folder: promised(folder, b"00:00:1e999999999"),
    "a duration that divides by zero": lambda folder: promised(folder, b"00:00:1/0"),
}
REFUSED: dict[str, tuple[Make, type[BadVideoError], str]] = {
    "an unknown codec": (unknown_codec, NoFramesError, "its codec is not known"),
    "a screen of 65535 × 65535": (
        lambda folder: gif_screen(folder, 65535, 65535),
        NoFramesError,
        "none of its 20 packets can be decoded",
    ),
    "a screen of 65535 × 96": (
        lambda folder: gif_screen(folder, 65535, 96),
        BadVideoError,
        "65535×96 pixels",
    ),
}


def read_everything(path: Path) -> int:
    """Read as the two first stages do, and count the 10 Hz indices."""
    info = probe(path)
    full = list(read_full_frames(path, range(0, info.index_count, 10), info=info))
    assert len(full) == -(-info.index_count // 10)
    return sum(1 for _ in read_cropped_frames(path, CropRegion(0, 0.5, 1, 1), info=info))


@pytest.mark.parametrize("what", READABLE)
def test_a_wrong_number_does_not_cost_the_frames(tmp_path: Path, what: str):
    assert read_everything(READABLE[what](tmp_path)) == 20


def test_a_last_fragment_far_off_costs_a_second_of_the_picture_before_it(tmp_path: Path):
    path = decode_time(tmp_path, FAR, bytearray.rfind)
    assert probe(path).timeline.rows()[1:] == [(26, pytest.approx(3.1e9, rel=0.1), True)]
    assert read_everything(path) == 30


@pytest.mark.parametrize("what", REFUSED)
def test_an_implausible_number_is_one_clear_line(tmp_path: Path, what: str):
    make, kind, message = REFUSED[what]
    path = make(tmp_path)
    with pytest.raises(kind, match=message) as raised:
        read_everything(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("value", ["7fffffff00000000", "000000007fffffff", "ffffffffffffffff"])
@pytest.mark.parametrize("place", [bytearray.find, bytearray.rfind], ids=["first", "last"])
def test_a_fragment_may_claim_any_time(tmp_path: Path, value: str, place: Callable[[bytes, bytes], int]):
    """Beyond 64 bits a sum of ticks is an ``OverflowError`` of PyAV's."""
    path = decode_time(tmp_path, bytes.fromhex(value), place)
    try:
        read_everything(path)
    except BadVideoError as error:
        assert "\n" not in str(error)


def test_a_frame_too_large_with_square_pixels_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """64 × 64 at 4:1 with a limit of 200 a side stands for 8192 × 8192 with the real limit."""
    path = squeezed(tmp_path)
    assert probe(path).square_size == (256, 64)
    monkeypatch.setattr("modal_gpu.media.probe.MAX_FRAME_SIDE", 200)
    with pytest.raises(BadVideoError, match="256×64 pixels"):
        probe(path)
    monkeypatch.undo()
    monkeypatch.setattr("modal_gpu.media.probe.MAX_FRAME_PIXELS", 128 * 64)
    with pytest.raises(BadVideoError, match="256×64 pixels"):
        probe(path)
