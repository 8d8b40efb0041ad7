"""Segments of a divided video: their parts make the layout that an undivided video has."""

import pytest

from benchmarks.situations.texts import VIETNAMESE
from modal_gpu.contracts import ExtractRequest, ExtractResult, FrameRange
from modal_gpu.databases.layout import read_layout
from modal_gpu.databases.raw_ocr import write_raw_ocr
from modal_gpu.functions.layout import publish_layout
from modal_gpu.functions.merge import merge_extracts
from modal_gpu.keys import VideoKeys
from modal_gpu.ocr.engine import Box, FrameOcr, OcrLine
from modal_gpu.ocr.languages.finding import UNREADABLE
from modal_gpu.storage import ObjectStore

KEYS = VideoKeys("123e4567-e89b-12d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174001")


def captions(first_index: int) -> list[FrameOcr]:
    """Vietnamese captions, of whose letters the wheel's model knows a part."""
    return [
        FrameOcr.of(first_index + 10 * k, [OcrLine(text, 0.97, Box(0.3, 0.88, 0.7, 0.94))])
        for k, text in enumerate(VIETNAMESE)
    ]


@pytest.mark.parametrize("with_language", [False, True])
def test_a_divided_video_in_a_language_with_its_model_has_the_layout_of_an_undivided_one(
    tmp_path, with_language: bool
):
    store = ObjectStore.from_url(tmp_path.resolve().as_uri())
    segments = [FrameRange(0, 512), FrameRange(512)]
    for segment in segments:
        store.put(KEYS.raw_ocr_part(segment.start), write_raw_ocr(captions(segment.start)))
    result = ExtractResult(
        600, 60.0, 1280, 720, "h264", 0, 6, 0, 1.0, "f", "o", "l", with_language=with_language
    )
    merge_extracts(ExtractRequest(KEYS.tenant_id, KEYS.video_id, KEYS.video), segments, [result] * 2, store)
    merged = read_layout(store.get(KEYS.layout_db))
    assert merged.reason.startswith(UNREADABLE) is not with_language
    store.delete(KEYS.layout_db)
    whole = publish_layout(store, KEYS, captions(0) + captions(512), 1280, 720, with_language=with_language)
    assert (merged.reason, merged.boxes, merged.crop_region) == (whole.reason, whole.boxes, whole.crop_region)
