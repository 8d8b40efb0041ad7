"""Pictures of the caption strips, out of the finished clip's chunks."""

import cv2
import numpy as np
import pytest

from captionacc_dagster.operations.strip_pictures import PictureRangeError, StripPictures, find_strips
from captionacc_dagster.resources.catalog import VideoRow, WrongStateError
from modal_gpu.errors import ObjectNotFoundError
from modal_gpu.storage_files import open_object
from tests.clip_fixtures import FRAME_COUNT
from tests.line_fixtures import Line


def decoded(webp: bytes) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(webp, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None and webp[:4] == b"RIFF"
    return image


@pytest.fixture
def pictures(line: Line) -> StripPictures:
    return StripPictures(line.store)


class TestPictures:
    def test_a_frame_has_the_size_of_the_crop(self, line: Line, finished: VideoRow, pictures):
        strips = find_strips(line.catalog, finished)
        assert (strips.frame_count, strips.zones) == (FRAME_COUNT, (0,))
        left, top, right, bottom = strips.crop_region.pixels(640, 360)
        frame = decoded(pictures.frame(finished, strips, 30))
        assert frame.shape[:2] == (bottom - top, right - left)

    def test_the_median_is_the_captions_text_on_a_calm_picture(
        self, line: Line, finished: VideoRow, pictures
    ):
        strips = find_strips(line.catalog, finished)
        median = decoded(pictures.median(finished, strips, 9, 26)).astype(int)
        inside = decoded(pictures.frame(finished, strips, 17)).astype(int)
        outside = decoded(pictures.frame(finished, strips, 2)).astype(int)
        assert np.abs(median - inside).mean() < np.abs(median - outside).mean()

    @pytest.mark.parametrize("step", [16, 4, 1])
    def test_a_sheet_has_its_frames_one_above_the_other(
        self, line: Line, finished: VideoRow, pictures, step: int
    ):
        strips = find_strips(line.catalog, finished)
        indices = pictures.sheet_indices(strips, 0, 2 * step + 1, step)
        sheet = decoded(pictures.sheet(finished, strips, 0, 2 * step + 1, step))
        height = decoded(pictures.frame(finished, strips, 0)).shape[0]
        assert indices == [0, step, 2 * step] and sheet.shape[0] == 3 * height
        last = decoded(pictures.frame(finished, strips, 2 * step)).astype(int)
        assert np.abs(sheet[2 * height :].astype(int) - last).mean() < 4

    @pytest.mark.parametrize(
        ("start", "end", "step"), [(0, 0, 1), (0, 81, 1), (0, 40, 1), (0, 20, 2), (1, 3, 4)]
    )
    def test_frames_that_no_sheet_has_are_refused(
        self, line: Line, finished: VideoRow, pictures, start: int, end: int, step: int
    ):
        with pytest.raises(PictureRangeError):
            pictures.sheet(finished, find_strips(line.catalog, finished), start, end, step)

    def test_unknown_zones_and_missing_chunks(self, line: Line, finished: VideoRow, pictures):
        strips = find_strips(line.catalog, finished)
        with pytest.raises(PictureRangeError, match="no zone 3"):
            pictures.frame(finished, strips, 0, zone=3)
        line.store.delete_prefix(line.keys(finished.video_id).cropped_frames_prefix(strips.version))
        with pytest.raises(ObjectNotFoundError):
            pictures.frame(finished, strips, 0)

    def test_a_picture_is_kept(self, line: Line, finished: VideoRow, pictures):
        strips = find_strips(line.catalog, finished)
        first = pictures.frame(finished, strips, 5)
        line.store.delete_prefix(line.keys(finished.video_id).cropped_frames_prefix(strips.version))
        assert pictures.frame(finished, strips, 5) == first

    def test_before_the_layout_is_approved_there_are_none(self, line: Line, laid_out: VideoRow):
        with pytest.raises(WrongStateError, match="no cropped frames yet"):
            find_strips(line.catalog, laid_out)


def test_the_sources_frames_are_as_long_as_its_header_says(line: Line, finished: VideoRow, pictures):
    assert pictures.frame_seconds(finished) == pytest.approx(1 / 25)


def test_an_object_is_read_in_parts(line: Line, finished: VideoRow):
    key = line.keys(finished.video_id).captions_db
    data = line.store.get(key)
    with open_object(line.store, key) as file:
        assert file.read(10) == data[:10]
        file.seek(-5, 2)
        assert file.read() == data[-5:]
        file.seek(0)
        assert file.read() == data
