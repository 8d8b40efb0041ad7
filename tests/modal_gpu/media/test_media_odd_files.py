"""Every file of the shared odd family: its contents, or its error."""

from pathlib import Path

import numpy as np
import pytest

from modal_gpu.contracts import CropRegion
from modal_gpu.errors import NotAVideoError, NoVideoStreamError
from modal_gpu.media.frames import DecodeReport, read_cropped_frames, read_full_frames
from modal_gpu.media.probe import probe

pytestmark = pytest.mark.data

#: file: (width, height, indices, reported damage)
VIDEOS = {
    "all_black.mp4": (640, 360, 50, ""),
    "anamorphic_sar.mp4": (1024, 576, 80, ""),
    "base8.mp4": (1280, 720, 80, ""),
    "bitflips_mdat.mp4": (1280, 720, 80, "of 200 frames are damaged and partly guessed"),
    "editlist_seek2.mp4": (1280, 720, 60, ""),
    "fps2.mp4": (1280, 720, 90, ""),
    "fps60.mp4": (1280, 720, 80, ""),
    "hevc10bit.mp4": (1280, 720, 80, ""),
    "huge_dims_header.mp4": (1280, 720, 80, ""),
    "odd_dims_444.mp4": (1279, 719, 80, ""),
    "one_frame.mp4": (1280, 720, 1, ""),
    "rotated_meta90.mp4": (1280, 720, 80, ""),
    "start_offset3.5.mkv": (1280, 720, 80, ""),
    "tiny_180p.mp4": (320, 180, 80, ""),
    "truncated_mdat.mp4": (1280, 720, 46, "the file ends early, after 4.6 s of 8.0 s"),
    "vertical_406x720.mp4": (406, 720, 80, ""),
    "vfr_drop.mkv": (1280, 720, 80, ""),
    "vfr_jitter.mp4": (1280, 720, 80, ""),
}
NO_VIDEOS = {
    "audio_only.mp4": (NoVideoStreamError, "holds only audio"),
    "random_bytes.mp4": (NotAVideoError, "not a video"),
    "text_file.mp4": (NotAVideoError, "not a video"),
    "truncated_no_moov.mp4": (NotAVideoError, "cut off before its index"),
}
#: Files that show base8's pictures, and how many of base8's indices earlier.
SAME_PICTURES = {
    "editlist_seek2.mp4": 20,
    "huge_dims_header.mp4": 0,
    "hevc10bit.mp4": 0,
    "odd_dims_444.mp4": 0,
    "rotated_meta90.mp4": 0,
    "start_offset3.5.mkv": 0,
}


def test_the_table_covers_the_folder(data_dir: Path):
    assert {path.name for path in (data_dir / "odd").iterdir() if path.suffix != ".srt"} == {
        *VIDEOS,
        *NO_VIDEOS,
    }


@pytest.mark.parametrize("name", VIDEOS)
def test_decodable_parts_are_decoded_and_damage_is_reported(data_dir: Path, name: str):
    width, height, count, damage = VIDEOS[name]
    path = data_dir / "odd" / name
    info, report = probe(path), DecodeReport()
    assert (info.width, info.height, info.index_count) == (width, height, count)
    region = CropRegion(0, 0.78, 1, 1)
    left, top, right, bottom = region.pixels(width, height)
    seconds = {}
    for index, frame in enumerate(read_cropped_frames(path, region, report)):
        assert frame.index == index
        assert frame.luma.shape == (bottom - top, right - left)
        assert index - 10 < frame.seconds * 10 <= index + 1e-9
        seconds[index] = frame.seconds
    assert len(seconds) == count
    assert damage in report.describe() if damage else report.describe() == ""
    for full in read_full_frames(path, range(0, count, 15)):
        assert full.image.shape == (height, width, 3)
        assert full.seconds == seconds[full.index]


@pytest.mark.slow
def test_damaged_parts_are_guessed_the_same_way_every_time(data_dir: Path):
    path = data_dir / "odd" / "bitflips_mdat.mp4"
    region = CropRegion(0, 0.78, 1, 1)
    crops, fulls = [], []
    for threads in (1, 2, 2):
        report = DecodeReport()
        crops.append(
            b"".join(f.yuv.tobytes() for f in read_cropped_frames(path, region, report, threads=threads))
        )
        assert (report.decoded_frames, report.decoder_met_damage) == (200, True)
        fulls.append([f.image.tobytes() for f in read_full_frames(path, range(0, 80, 9), threads=threads)])
    assert crops[0] == crops[1] == crops[2]
    assert fulls[0] == fulls[1] == fulls[2]


@pytest.mark.parametrize("name", NO_VIDEOS)
def test_a_file_that_is_not_a_video_is_a_clear_error(data_dir: Path, name: str):
    error, message = NO_VIDEOS[name]
    with pytest.raises(error, match=message):
        probe(data_dir / "odd" / name)


@pytest.mark.parametrize("name", SAME_PICTURES)
def test_unusual_files_show_the_same_pictures_at_the_same_indices(data_dir: Path, name: str):
    earlier = SAME_PICTURES[name]
    indices = [0, 17, 41]
    plain = read_full_frames(data_dir / "odd" / "base8.mp4", [index + earlier for index in indices])
    unusual = read_full_frames(data_dir / "odd" / name, indices)
    for reference, frame in zip(plain, unusual, strict=True):
        height, width = (
            min(sizes) for sizes in zip(reference.image.shape[:2], frame.image.shape[:2], strict=True)
        )
        difference = reference.image[:height, :width].astype(int) - frame.image[:height, :width]
        assert abs(difference).mean() < 6
        assert (
            np.corrcoef(reference.image[:height, :width].ravel(), frame.image[:height, :width].ravel())[0, 1]
            > 0.98
        )
