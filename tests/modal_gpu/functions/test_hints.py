"""The height of a caption line follows from the text that was read, wherever the crop region is."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from modal_gpu.contracts import CropRegion
from modal_gpu.databases.layout import layout_file, write_layout
from modal_gpu.databases.raw_ocr import write_raw_ocr
from modal_gpu.functions.caption_ocr import text_settings
from modal_gpu.functions.hints import sampled_strips, strip_hints
from modal_gpu.keys import VideoKeys
from modal_gpu.layout.analysis import analyze_layout
from modal_gpu.media.images import encode_jpeg
from modal_gpu.ocr.engine import Box, FrameOcr, OcrLine
from modal_gpu.storage import ObjectStore

KEYS = VideoKeys("123e4567-e89b-12d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174001")
WORDS = ("nobody", "waited", "for", "rain", "station", "river", "clock", "stairs")


def stored(
    folder: Path, *lines: Box, sign: Box | None = None, size: tuple[int, int] = (1280, 720)
) -> ObjectStore:
    """Store the OCR and the layout of 20 frames whose texts differ, at the places ``lines``, and a sign."""
    store = ObjectStore.from_url(folder.resolve().as_uri())
    signs = [OcrLine("Library", 0.98, sign)] if sign else []
    frames = [
        FrameOcr.of(
            30 * k,
            [*signs, *(OcrLine(f"{WORDS[k % 8]} {WORDS[k * 3 % 7]} {k}", 0.98, box) for box in lines)],
        )
        for k in range(20)
    ]
    layout = layout_file(analyze_layout(frames, *size), frames)
    store.put(KEYS.raw_ocr_db, write_raw_ocr(frames))
    store.put(KEYS.layout_db, write_layout(layout))
    return store


def high(center: float, height: float) -> Box:
    return Box(0.3, center - height / 2, 0.7, center + height / 2)


def test_a_crop_region_on_the_band_has_the_bands_line_height(tmp_path):
    store = stored(tmp_path, high(0.9, 0.06))
    hints = strip_hints(store, KEYS, CropRegion(0, 0.8, 1, 1))
    assert hints.line_height == pytest.approx(0.06 / 0.2, abs=0.01) and hints.line_height_seen


def test_a_crop_region_beside_the_band_guesses_from_the_text_in_it_and_filters_nothing(tmp_path):
    store = stored(tmp_path, high(0.9, 0.05), sign=high(0.25, 0.2))
    crop = CropRegion(0, 0.1, 1, 0.4)
    hints = strip_hints(store, KEYS, crop)
    assert hints.line_height == pytest.approx(0.2 / 0.3, abs=0.02) and not hints.line_height_seen
    assert text_settings(store, KEYS, crop).line_height is None


def test_a_strip_without_any_text_gets_a_line_that_may_fill_it(tmp_path):
    store = stored(tmp_path, size=(1120, 90))
    hints = strip_hints(store, KEYS, CropRegion(0, 0, 1, 1))
    assert 0.3 < hints.line_height <= 0.6 and not hints.line_height_seen


def test_without_a_layout_no_line_is_dropped_for_its_height(tmp_path):
    store = ObjectStore.from_url(tmp_path.resolve().as_uri())
    settings = text_settings(store, KEYS, CropRegion(0, 0, 1, 1))
    assert (settings.line_height, settings.vertical_center) == (None, None)


def test_strips_of_full_frames_are_read_when_they_are_needed_and_damaged_ones_left_out(tmp_path):
    store = ObjectStore.from_url(tmp_path.resolve().as_uri())
    for index in range(0, 1000, 10):
        store.put(KEYS.full_frame(index), encode_jpeg(np.full((90, 160, 3), index % 200, np.uint8)))
    store.put(KEYS.full_frame(20), b"no picture")
    store.put(KEYS.full_frame(30), encode_jpeg(np.zeros((45, 80, 3), np.uint8)))
    strips = sampled_strips(
        store,
        KEYS,
        CropRegion(0.1, 0.5, 0.9, 1),
        SimpleNamespace(width=160, height=90, matrix=1),
        range(500, 700),
    )
    store.delete(KEYS.full_frame(170))  # before the part, and before the 32 around it
    found = strips.nearest(0, 200)
    assert list(found) == list(range(180, 1000, 10))
    assert {luma.shape for luma in found.values()} == {(46, 128)}
    assert found[410].mean() == pytest.approx(16 + 10 * 219 / 255, abs=2)
    around_all = sampled_strips(
        store, KEYS, CropRegion(0, 0, 1, 1), SimpleNamespace(width=160, height=90, matrix=1), range(1000)
    )
    assert list(around_all.nearest(15, 3)) == [10, 40, 50]
