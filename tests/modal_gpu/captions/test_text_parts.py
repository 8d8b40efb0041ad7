"""Texts of a running call are stored now and then, and losing them fails nothing."""

from pathlib import Path

import pytest

from modal_gpu.captions import text_parts
from modal_gpu.captions.text_parts import TextPartWriter, read_text_parts
from modal_gpu.contracts import CaptionOcrRequest, CaptionOcrResult, CaptionRange, CropRegion
from modal_gpu.errors import StorageError
from modal_gpu.keys import VideoKeys
from modal_gpu.storage import ObjectStore

KEYS = VideoKeys("00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002")
RESULTS = [
    CaptionOcrResult("eins", 0.9, 5, 1),
    CaptionOcrResult("", 0.0, 5, 2, error="OCR failed"),
    CaptionOcrResult("drei\nvier", 0.7, 5, 3),
]


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore.from_url(tmp_path.as_uri())


def writer(store: ObjectStore, first: int = 1, zone: int = 0) -> TextPartWriter:
    captions = [CaptionRange(n, 10 * n, 10 * n + 5) for n in range(first, first + 3)]
    crop = CropRegion(0, 0.8, 1, 1)
    return TextPartWriter(
        CaptionOcrRequest(KEYS.tenant_id, KEYS.video_id, 1, crop, 100, captions, zone=zone), store
    )


def texts(store: ObjectStore) -> dict[tuple[int, int, int], str]:
    keys = [info.key for info in store.list(KEYS.caption_text_parts)]
    return {place: one.text for place, one in read_text_parts(store, keys).items()}


def test_a_quick_call_stores_nothing(store):
    assert not writer(store).store(RESULTS) and texts(store) == {}


def test_texts_are_stored_and_failures_are_not(store, monkeypatch):
    monkeypatch.setattr(text_parts, "WRITE_SECONDS", 0)
    first = writer(store)
    assert first.store(RESULTS[:1]) and texts(store) == {(0, 10, 15): "eins"}
    assert first.store(RESULTS)
    assert texts(store) == {(0, 10, 15): "eins", (0, 30, 35): "drei\nvier"}
    # Calls beside it, and other zones, have objects of their own.
    assert writer(store, first=4).store(RESULTS[:1]) and writer(store, zone=2).store(RESULTS[:1])
    assert texts(store) | {(0, 40, 45): "eins", (2, 10, 15): "eins"} == texts(store)
    assert len(texts(store)) == 4


def test_a_store_that_does_not_answer_fails_nothing(store, monkeypatch):
    monkeypatch.setattr(text_parts, "WRITE_SECONDS", 0)

    def put(*_: object) -> None:
        raise StorageError("the bucket does not answer")

    monkeypatch.setattr(store, "put", put)
    assert not writer(store).store(RESULTS)


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b'[{"zone": 0}]', b"\xff"])
def test_a_damaged_or_missing_object_has_no_texts(store, data, caplog):
    key = KEYS.caption_text_part(1, 0, 0, 5)
    store.put(key, data)
    assert read_text_parts(store, [key, KEYS.caption_text_part(1, 0, 6, 9)]) == {}
    assert "holds no texts" in caplog.text
