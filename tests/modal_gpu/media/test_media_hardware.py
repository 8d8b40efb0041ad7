"""Decoding on a GPU: the choice, and the fallback to software, with the same frames in the end.

No GPU is needed, but for the last test: the stand-in decodes in software and hands frames out as NVDEC does,
in NV12 or P010.
"""

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from av.codec.hwaccel import HWAccel
from av.video.reformatter import ColorRange
from stamped_clips import Clip, every

from modal_gpu.contracts import CropRegion
from modal_gpu.media import decoding, pyav
from modal_gpu.media.frames import read_cropped_frames
from modal_gpu.media.hardware import Decoding, acceleration, no_gpu, reason_for_software, ways
from modal_gpu.media.pixels import upright_rgb
from modal_gpu.media.probe import probe
from modal_gpu.media.report import DecodeReport
from modal_gpu.media.source import open_video

BOTTOM = CropRegion(0, 0.5, 1, 1)
#: The odd files that are videos, and why software decodes them; empty if a GPU can.
REASONS = {
    "all_black.mp4": "",
    "anamorphic_sar.mp4": "",
    "base8.mp4": "",
    "bitflips_mdat.mp4": "",  # its damage is only met on the way
    "editlist_seek2.mp4": "",
    "fps2.mp4": "",
    "fps60.mp4": "",
    "hevc10bit.mp4": "",
    "huge_dims_header.mp4": "",
    "odd_dims_444.mp4": "pixel format yuv444p",
    "one_frame.mp4": "",
    "rotated_meta90.mp4": "",
    "start_offset3.5.mkv": "",
    "tiny_180p.mp4": "",
    "truncated_mdat.mp4": "the file ends early",
    "vertical_406x720.mp4": "",
    "vfr_drop.mkv": "",
    "vfr_jitter.mp4": "",
}


class Gpu:
    """A stand-in for NVDEC. ``fault(n)`` may change what the decoder returns for its ``n``-th packet."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.decoded, self.fault, self._decode = 0, lambda n, frames: frames, pyav.decode
        self._on = False
        monkeypatch.setattr(decoding, "acceleration", lambda: "on the stand-in")
        monkeypatch.setattr(decoding, "open_video", self._opened)
        monkeypatch.setattr(pyav, "decode", self._returned)

    @contextmanager
    def _opened(self, path, hwaccel=None):
        self._on = hwaccel is not None
        with open_video(path) as opened:
            yield opened

    def _returned(self, decoder, packet):
        frames = self._decode(decoder, packet)
        if not self._on:
            return frames
        self.decoded += 1
        wanted = {"yuv420p": "nv12", "yuvj420p": "nv12", "yuv420p10le": "p010le"}
        made = [frame.reformat(format=wanted.get(frame.format.name)) for frame in frames or ()]
        return self.fault(self.decoded, None if frames is None else made)


@pytest.fixture
def gpu(monkeypatch):
    return Gpu(monkeypatch)


def crops(path: Path, *, gpu: bool, **options):
    report = DecodeReport()
    found = [
        (f.index, f.seconds, f.matrix, f.yuv.tobytes(), tuple(s.luma.tobytes() for s in f.source))
        for f in read_cropped_frames(path, BOTTOM, report, gpu=gpu, threads=2, **options)
    ]
    return found, report


@pytest.mark.data
def test_a_gpu_is_chosen_for_the_files_that_it_can_decode(data_dir: Path):
    assert {name: reason_for_software(probe(data_dir / "odd" / name)) for name in REASONS} == REASONS


def test_the_choice_looks_at_codec_format_and_size(tmp_path: Path):
    info = probe(Clip(every(25, 50)).write(tmp_path))
    assert reason_for_software(info) == ""
    assert reason_for_software(replace(info, codec="libdav1d")) == "codec libdav1d"
    assert reason_for_software(replace(info, pixel_format="yuv420p10le")) == "pixel format yuv420p10le"
    assert reason_for_software(replace(info, codec="vp9", pixel_format="yuv420p10le")) == ""
    assert reason_for_software(replace(info, coded_size=(641, 360))) == "an odd size, 641×360"
    assert reason_for_software(replace(info, promised_duration=info.duration + 1)) == "the file ends early"


def test_software_follows_the_gpu_and_a_single_thread_comes_last():
    assert ways(0, gpu=True) == [Decoding(1, gpu=True), Decoding(0), Decoding(1)]
    assert ways(1, gpu=True) == [Decoding(1, gpu=True), Decoding(1)]
    assert ways(4, gpu=False) == [Decoding(4), Decoding(1)]
    assert ways(1, gpu=False) == [Decoding(1)]


@pytest.mark.data
@pytest.mark.parametrize("name", REASONS)
def test_frames_of_a_gpu_are_those_of_software(gpu: Gpu, data_dir: Path, name: str):
    """Each odd file gives the same crops and times on the way over the GPU's formats, or by the fallback."""
    path = data_dir / "odd" / name
    # The damage of one file comes late.
    options = {} if name == "bitflips_mdat.mp4" else {"end_index": 20}
    expected, report = crops(path, gpu=False, **options)
    assert gpu.decoded == 0
    found, other = crops(path, gpu=True, **options)
    assert found == expected
    assert gpu.decoded > 0 and other.describe() == report.describe()


@pytest.mark.parametrize("first", [0, 60])
def test_a_part_is_decoded_on_a_gpu_too(gpu: Gpu, tmp_path: Path, first: int):
    path = Clip(every(25, 250)).write(tmp_path)
    options = {"first_index": first, "end_index": first + 20, "source_size": (8, 32)}
    expected, _ = crops(path, gpu=False, **options)
    found, report = crops(path, gpu=True, **options)
    assert found == expected and gpu.decoded > 0 and report.gpu_failures == 0


def refuses(n, frames):
    return None if n == 20 else frames


def returns_software_frames(n, frames):
    return frames and [frame.reformat(format="yuv420p") for frame in frames]


def leaves_a_frame_out(n, frames):
    return [] if n == 30 else frames


def leaves_the_last_frames_out(n, frames):
    return frames if n < 45 else []


def returns_nothing(n, frames):
    return []


@pytest.mark.parametrize(
    "fault",
    [refuses, returns_software_frames, leaves_a_frame_out, leaves_the_last_frames_out, returns_nothing],
)
def test_software_takes_over_from_a_gpu_that_fails_and_the_log_says_so(
    gpu: Gpu, tmp_path: Path, fault, caplog: pytest.LogCaptureFixture
):
    path = Clip(every(25, 50)).write(tmp_path)
    expected, _ = crops(path, gpu=False)
    gpu.fault = fault
    found, report = crops(path, gpu=True)
    assert found == expected and gpu.decoded > 0
    assert (report.gpu_failures, report.describe(), report.decoded_frames) == (0, "", 50)
    assert [r.message.partition(":")[0] for r in caplog.records] == ["decoding a video again, in software"]


def test_a_picture_of_a_gpu_keeps_its_range_and_colours(tmp_path: Path):
    path = Clip(every(25, 10)).write(tmp_path)
    info = probe(path)
    with open_video(path) as (container, stream):
        frame = next(container.decode(stream))
        for full in (ColorRange.MPEG, ColorRange.JPEG):
            frame.color_range = full
            on_gpu = frame.reformat(format="nv12")
            pictures = [upright_rgb(f, info.square_size, info.orientation) for f in (frame, on_gpu)]
            assert (pictures[0] == pictures[1]).all()


def test_without_a_device_a_file_is_opened_in_software(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """PyAV refuses to open it with NVDEC where there is no GPU."""
    path = Clip(every(25, 10)).write(tmp_path)
    kind = HWAccel("no-such-device", allow_software_fallback=False)
    with open_video(path, kind) as (container, stream):
        assert len(list(container.decode(stream))) == 10
    assert [r.message.partition(":")[0] for r in caplog.records] == ["opening a video without the GPU"]
    if no_gpu():
        with open_video(path, acceleration()) as (container, stream):
            assert not stream.codec_context.is_hwaccel
        assert "no CUDA device" in no_gpu()
        assert crops(path, gpu=True)[0] == crops(path, gpu=False)[0]


@pytest.mark.gpu
@pytest.mark.data
@pytest.mark.parametrize("name", [name for name, reason in REASONS.items() if not reason])
def test_nvdec_gives_the_frames_of_software(data_dir: Path, name: str):
    """The same indices and times; the same pictures where the file is not damaged."""
    path = data_dir / "odd" / name
    expected, report = crops(path, gpu=False)
    found, _ = crops(path, gpu=True)
    assert [frame[:3] for frame in found] == [frame[:3] for frame in expected]
    if not report.decoder_met_damage:
        assert found == expected
