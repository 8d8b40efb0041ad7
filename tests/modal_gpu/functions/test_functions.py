"""The three functions on their own: what they publish, how they report progress, what stops them."""

import threading
import uuid
from dataclasses import replace

import numpy as np
import pytest

from captionacc_dagster.resources.catalog import VideoRow
from modal_gpu.captions import text_parts
from modal_gpu.captions.text_parts import read_text_parts
from modal_gpu.contracts import (
    READY,
    CaptionOcrRequest,
    CaptionRange,
    CaptionZone,
    CropInferRequest,
    CropInferResult,
    CropRegion,
    ExtractRequest,
    ExtractResult,
    FrameRange,
    ZoneResult,
    from_wire,
    to_wire,
)
from modal_gpu.databases.captions import read_captions
from modal_gpu.databases.extents import SegmentScores, read_extents, write_segment
from modal_gpu.errors import BadVideoError, DamagedChunkError, ObjectNotFoundError, StorageError
from modal_gpu.extents.decoder import decode
from modal_gpu.frame_index import chunks
from modal_gpu.functions.caption_ocr import caption_images, generate_caption_ocr
from modal_gpu.functions.crop_infer import crop_and_infer_caption_frame_extents
from modal_gpu.functions.extract import extract_frames_and_ocr
from modal_gpu.functions.feed import Feed, read_ahead
from modal_gpu.functions.merge import merge_crops
from modal_gpu.functions.settings import ComputeSettings
from modal_gpu.keys import VideoKeys
from modal_gpu.media import frames
from tests.clip_fixtures import FRAME_COUNT, Clip
from tests.line_fixtures import Line

ONE = ComputeSettings(workers=1)


class Steps(list):
    """A progress listener that records the steps."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        self.append((stage, done, total))

    def check(self, stage: str, total: int) -> None:
        heard = [(done, of) for name, done, of in self if name == stage]
        assert heard and all(of == total and 0 <= done <= total for done, of in heard)
        assert [done for done, _ in heard] == sorted(done for done, _ in heard)
        assert heard[-1] == (total, total)


def extract_request(line: Line, video: VideoRow, **options) -> ExtractRequest:
    return ExtractRequest(line.tenant_id, video.video_id, video.storage_key, **options)


def crop_request(line: Line, video: VideoRow, **options) -> CropInferRequest:
    usual = {"crop_region": video.crop_region, "version": 2, "run_id": "run-1"}
    return CropInferRequest(line.tenant_id, video.video_id, video.storage_key, **{**usual, **options})


def ocr_request(line: Line, video: VideoRow) -> CaptionOcrRequest:
    captions = read_captions(line.store.get(line.keys(video.video_id).captions_db))
    return CaptionOcrRequest(
        tenant_id=line.tenant_id,
        video_id=video.video_id,
        version=1,
        crop_region=video.crop_region,
        frame_count=FRAME_COUNT,
        captions=[CaptionRange(c.id, c.start_index, c.end_index) for c in captions],
    )


def test_extracting_frames_without_reading_them(line: Line, clip: Clip):
    video, steps = line.upload(clip.path), Steps()
    request = extract_request(line, video, outputs=frozenset({"full_frames"}))
    result = extract_frames_and_ocr(request, line.store, ONE, steps)
    steps.check("frames", result.full_frame_count)
    assert (result.frame_count, result.frame_width, result.frame_height) == (FRAME_COUNT, 640, 360)
    assert (result.ocr_box_count, result.damage) == (0, "")
    assert len(line.stored(video.video_id)) == 2 * result.full_frame_count
    assert from_wire(ExtractResult, to_wire(result)) == result
    korean = extract_frames_and_ocr(replace(request, languages=["ko"]), line.store, ONE)
    assert (result.with_language, korean.with_language) == (False, True)


def test_cropping_without_inference_result_and_the_other_way_round(line: Line, laid_out: VideoRow):
    steps, before = Steps(), line.stored(laid_out.video_id).keys()
    chunks_only = crop_request(line, laid_out, outputs=frozenset({"cropped_chunks"}))
    result = crop_and_infer_caption_frame_extents(chunks_only, line.store, ONE, steps)
    steps.check("strips", FRAME_COUNT)
    keys = line.keys(laid_out.video_id)
    expected = {keys.chunk(2, ref).removeprefix(keys.client_prefix) for ref in chunks(FRAME_COUNT)}
    assert line.stored(laid_out.video_id).keys() - before == expected
    assert (result.frame_count, result.chunk_count) == (FRAME_COUNT, len(expected))
    assert sum(result.label_counts.values()) == FRAME_COUNT - 1
    assert from_wire(CropInferResult, to_wire(result)) == result

    pairs_only = crop_request(line, laid_out, outputs=frozenset({"caption_frame_extents_db"}), version=3)
    result = crop_and_infer_caption_frame_extents(pairs_only, line.store, ONE)
    assert result.chunk_count == 0
    run, predictions = read_extents(line.store.get(keys.caption_frame_extents_db(3)))
    assert (run.run_id, run.cropped_frames_version, run.total_pairs) == ("run-1", 3, FRAME_COUNT - 1)
    assert predictions.frame_count == FRAME_COUNT
    assert not list(line.store.list(keys.cropped_frames_prefix(3)))


def test_captions_are_read_in_the_order_asked_for(
    line: Line, finished: VideoRow, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(text_parts, "WRITE_SECONDS", 0)
    request, steps = ocr_request(line, finished), Steps()
    backwards = replace(request, captions=request.captions[::-1])
    results = generate_caption_ocr(backwards, line.store, ONE, steps)
    steps.check("captions", 3)
    assert [r.caption_id for r in results] == [c.caption_id for c in backwards.captions]
    assert results[1].ocr_text == "Only the gulls are still awake."
    assert results[0].ocr_text.split("\n")[0] == "Far out, the last boat turns for home"
    assert all(r.confidence > 0.8 and r.frame_count > 10 and not r.error for r in results)
    # The texts could be read by others on the way.
    assert [step for step in steps if step[0] == READY] == [(READY, n, 3) for n in (1, 2, 3)]
    stored = line.store.list(line.keys(finished.video_id).caption_text_parts)
    texts = read_text_parts(line.store, [info.key for info in stored])
    assert [texts[0, c.start_index, c.end_index].text for c in backwards.captions] == [
        r.ocr_text for r in results
    ]


def test_no_captions_need_no_engine_and_no_chunk(line: Line, finished: VideoRow):
    line.store.delete_prefix(line.keys(finished.video_id).cropped_frames_prefix(1))
    empty = replace(ocr_request(line, finished), captions=[])
    assert generate_caption_ocr(empty, line.store, ONE) == []


def test_a_chunk_that_is_gone_or_damaged_is_named(line: Line, finished: VideoRow):
    keys = line.keys(finished.video_id)
    first = next(ref for ref in chunks(FRAME_COUNT) if ref.level == 1)
    data = line.store.get(keys.chunk(1, first))
    line.store.put(keys.chunk(1, first), data[: len(data) // 2])
    with pytest.raises(DamagedChunkError):
        list(caption_images(ocr_request(line, finished), line.store))
    line.store.delete(keys.chunk(1, first))
    with pytest.raises(ObjectNotFoundError, match="chunk_0000000001"):
        list(caption_images(ocr_request(line, finished), line.store))


@pytest.mark.parametrize("function", [extract_frames_and_ocr, crop_and_infer_caption_frame_extents])
def test_a_missing_upload_must_be_repeated(line: Line, laid_out: VideoRow, function):
    make = extract_request if function is extract_frames_and_ocr else crop_request
    line.store.delete(laid_out.storage_key)
    with pytest.raises(BadVideoError, match="upload it again"):
        function(make(line, laid_out), line.store, ONE)


class TestFeed:
    def test_items_arrive_in_order_and_the_result_comes_back(self):
        with Feed[int, list[int]](list, limit=2) as feed:
            for item in range(100):
                feed.put(item)
            assert feed.result() == list(range(100))

    def test_an_error_of_the_consumer_reaches_the_producer_however_full_the_queue(self):
        def consume(items):
            next(items)
            raise ValueError("no more")

        with pytest.raises(ValueError, match="no more"), Feed[int, None](consume, limit=2) as feed:
            for item in range(1000):
                feed.put(item)

    def test_an_error_of_the_producer_ends_the_consumer(self):
        seen = []

        def consume(items):
            seen.extend(items)
            return "ended"

        with pytest.raises(KeyError), Feed[int, str](consume, limit=2) as feed:
            feed.put(1)
            raise KeyError
        assert len(seen) <= 1


class TestReadAhead:
    def test_items_arrive_in_order_and_are_drawn_before_they_are_asked_for(self):
        drawn = threading.Event()

        def items():
            yield 1
            drawn.set()
            yield 2

        with read_ahead(items()) as ahead:
            assert drawn.wait(5)
            assert list(ahead) == [1, 2]

    @pytest.mark.parametrize(("limit", "size"), [(2, 0), (64, 16 * 2**20)])
    def test_no_more_items_are_drawn_than_may_wait(self, limit: int, size: int):
        drawn, third = [], threading.Event()

        def items():
            for item in range(100):
                drawn.append(item)
                if item == 2:
                    third.set()
                yield item

        with read_ahead(items(), limit, lambda _: size):
            assert third.wait(5)
        assert drawn == [0, 1, 2], "two wait, and one has no place yet"

    def test_an_error_is_raised_behind_the_items_before_it(self):
        def items():
            yield 1
            raise ValueError("no more")

        with read_ahead(items()) as ahead:
            assert next(ahead) == 1
            with pytest.raises(ValueError, match="no more"):
                next(ahead)

    def test_leaving_the_block_ends_the_thread(self):
        with pytest.raises(KeyError), read_ahead(iter(range(10**9)), limit=2) as ahead:
            assert next(ahead) == 0
            raise KeyError
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


def test_the_trained_network_separates_the_captions_too(line: Line, laid_out: VideoRow, clip: Clip):
    settings = replace(ONE, extents_predictor="network")
    result = crop_and_infer_caption_frame_extents(crop_request(line, laid_out), line.store, settings)
    run, predictions = read_extents(line.store.get(result.caption_frame_extents_db_key))
    assert run.model_version.startswith("extents-") and len(run.model_sha256) == 64
    found = [(extent.start / 10, extent.end / 10) for extent in decode(predictions)]
    assert found == [
        (pytest.approx(truth.start_s, abs=0.11), pytest.approx(truth.end_s, abs=0.11)) for truth in clip.truth
    ]


TOP = CropRegion(0.1, 0.02, 0.9, 0.2)


def test_one_pass_serves_all_zones_with_what_each_would_get_alone(
    line: Line, laid_out: VideoRow, monkeypatch: pytest.MonkeyPatch
):
    keys = line.keys(laid_out.video_id)
    passes = []
    decode = frames.presented_frames
    monkeypatch.setattr(frames, "presented_frames", lambda *a, **k: passes.append(a) or decode(*a, **k))
    zones = (CaptionZone(2, TOP),)
    both = crop_and_infer_caption_frame_extents(
        crop_request(line, laid_out, version=1, zones=zones), line.store, ONE
    )
    assert len(passes) == 1
    (top,) = both.zones
    assert (top.zone_index, top.caption_frame_extents_db_key) == (2, keys.caption_frame_extents_db(1, 2))
    assert from_wire(CropInferResult, to_wire(both)) == both

    bottom_alone = crop_and_infer_caption_frame_extents(
        crop_request(line, laid_out, version=2), line.store, ONE
    )
    crop_and_infer_caption_frame_extents(
        crop_request(line, laid_out, version=3, crop_region=TOP), line.store, ONE
    )
    assert bottom_alone.zones == ()
    assert (both.label_counts, both.chunk_count, both.total_size_bytes) == (
        bottom_alone.label_counts,
        bottom_alone.chunk_count,
        bottom_alone.total_size_bytes,
    )
    assert sum(top.label_counts.values()) == FRAME_COUNT - 1
    for ref in chunks(FRAME_COUNT):
        assert line.store.get(keys.chunk(1, ref)) == line.store.get(keys.chunk(2, ref))
        assert line.store.get(keys.chunk(1, ref, 2)) == line.store.get(keys.chunk(3, ref))


def test_a_failing_zone_fails_the_call_and_ends_its_threads(
    line: Line, laid_out: VideoRow, monkeypatch: pytest.MonkeyPatch
):
    put, before = line.store.put, threading.active_count()

    def broken(key: str, *rest: object) -> None:
        if "zone_1" in key:
            raise StorageError("disk full")
        put(key, *rest)

    monkeypatch.setattr(line.store, "put", broken)
    with pytest.raises(StorageError, match="disk full"):
        crop_and_infer_caption_frame_extents(
            crop_request(line, laid_out, zones=(CaptionZone(1, TOP),)), line.store, ONE
        )
    assert threading.active_count() <= before


def test_the_parts_of_every_zone_are_merged(line: Line):
    """A divided video: each segment leaves a part for each zone."""
    keys, version = VideoKeys(line.tenant_id, str(uuid.uuid4())), 1
    segments = [FrameRange(0, 512), FrameRange(512)]
    zones = (CaptionZone(2, TOP),)
    request = CropInferRequest(
        keys.tenant_id, keys.video_id, keys.video, CropRegion(0, 0.8, 1, 1), version, "run", zones=zones
    )
    scores, results = {}, []
    for segment, count in zip(segments, (512, 20), strict=True):
        for zone in (0, 2):
            ones = np.full(count, 0.9 if zone else 0.1, np.float32)
            scores[zone, segment.start] = SegmentScores(
                segment.start, ones, ones, np.full(count, np.nan), "model", "ab"
            )
            key = keys.caption_frame_extents_part(version, segment.start, zone)
            line.store.put(key, write_segment(scores[zone, segment.start]), "application/gzip")
        part = ZoneResult(2, {}, "", "", chunk_count=3, total_size_bytes=count)
        results.append(CropInferResult(version, count, {}, 1.0, "", "", 5, 100, zones=(part,)))
    merged = merge_crops(request, segments, results, line.store, started_at="a", completed_at="b")
    (zone,) = merged.zones
    assert (merged.frame_count, merged.chunk_count) == (532, 10)
    assert (zone.zone_index, zone.chunk_count, zone.total_size_bytes) == (2, 6, 532)
    assert zone.label_counts["same"] == 531 and merged.label_counts["empty_empty"] == 531
    for index in (0, 2):
        run, predictions = read_extents(line.store.get(keys.caption_frame_extents_db(version, index)))
        assert (run.total_pairs, predictions.frame_count) == (531, 532)
    assert not [info.key for info in line.store.list(keys.server_prefix) if ".parts/" in info.key]
