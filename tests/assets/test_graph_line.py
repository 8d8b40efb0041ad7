"""A video through both runs of the graph: real media, OCR, PostgreSQL and bucket."""

import io
from collections import Counter
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from PIL import Image

from benchmarks.event_log import BUDGET, rows_of
from benchmarks.metrics import evaluate
from benchmarks.quality import read_captions as read_subtitles
from captionacc_dagster.assets.pictures.drawing import WIDTH
from captionacc_dagster.assets.pictures.links import INLINE_LENGTH, js_length
from modal_gpu.contracts import CropRegion
from modal_gpu.databases.captions import read_captions
from modal_gpu.extents.checkpoint import shipped, verify
from modal_gpu.frame_index import chunks, full_frame_indices
from modal_gpu.keys import VideoKeys
from modal_gpu.storage import ObjectStore
from tests.clip_fixtures import FRAME_COUNT, Clip
from tests.line_fixtures import Line
from tests.run_results import checks, failure, materialized


@pytest.fixture(params=["folder", "s3"])
def line_on(request: pytest.FixtureRequest, line: Line) -> Line:
    """The line on a folder, and on S3 over HTTP."""
    if request.param == "folder":
        return line
    store: ObjectStore = request.getfixturevalue("s3_store")
    return Line(line.catalog, store, line.instance)


def test_a_video_becomes_subtitles(line_on: Line, clip: Clip, tmp_path: Path):
    line, video_id = line_on, line_on.upload(clip.path).video_id
    keys = line.keys(video_id)

    layout = line.run("layout", video_id)
    assert layout.success
    assert materialized(layout) == ["full_frames", "layout_db", "raw_ocr_db"]
    assert checks(layout) == {
        "every_frame_present": True,
        "every_frame_read": True,
        "boxes_match_ocr": True,
        "script_can_be_read": True,
    }
    row = line.row(video_id)
    assert (row.layout.status, row.layout_approved_by, row.crop_region_version) == ("done", "auto", 1)
    assert (row.width, row.height, row.frame_count, row.duration_seconds) == (640, 360, FRAME_COUNT, 8.0)
    assert (row.layout.run_id, row.layout.last_run_id) == (None, layout.run_id)
    assert row.boundaries.status == row.text.status == "wait"
    expected = {"layout.db.gz", "raw-ocr.db.gz"}
    for index in full_frame_indices(FRAME_COUNT):
        expected |= {f"full_frames/frame_{index:06d}.jpg", f"full_frames_thumbnails/frame_{index:06d}.jpg"}
    assert set(line.stored(video_id)) == expected

    captions = line.run("captions", video_id)
    assert captions.success
    assert materialized(captions) == [
        "caption_frame_extents_db",
        "caption_ocr",
        "captions_db",
        "cropped_chunks",
        "subtitles",
    ]
    assert checks(captions) == {
        "every_frame_in_one_chunk": True,
        "every_pair_labelled": True,
        "captions_do_not_overlap": True,
        "every_caption_read": True,
        "texts_can_be_read": True,
        "subtitles_match_captions": True,
    }
    row = line.row(video_id)
    assert (row.boundaries.status, row.text.status) == ("annotate", "annotate")
    assert (row.caption_count, row.text_caption_count) == (3, 3)
    assert (row.boundaries.run_id, row.text.run_id, row.error) == (None, None, None)
    expected |= {
        "captions.db.gz",
        "captions.srt",
        "captions.vtt",
        "caption_frame_extents_v1.db.gz",
        *(keys.chunk(1, ref).removeprefix(keys.client_prefix) for ref in chunks(FRAME_COUNT)),
    }
    assert set(line.stored(video_id)) == expected
    (version,) = line.catalog.list_cropped_frames_versions(video_id)
    assert (version.version, version.status, version.total_frames) == (1, "active", FRAME_COUNT)
    run, model = line.catalog.current_inference_run(video_id), verify(shipped())
    assert (run.model_version, run.model_sha256) == (model.version, model.sha256)
    assert line.catalog.list_locks() == []

    srt, vtt = tmp_path / "captions.srt", tmp_path / "captions.vtt"
    line.store.download(keys.srt, srt)
    line.store.download(keys.vtt, vtt)
    for file in (srt, vtt):
        quality = evaluate(clip.truth, read_subtitles(file))
        assert (quality.found, quality.invented, quality.exact_text) == (3, 0, 3)
        assert max(quality.start_error_ms.largest, quality.end_error_ms.largest) <= 100


def test_processing_counts_towards_the_tenants_minutes(line: Line, clip: Clip, postgres_dsn: str):
    video_id = line.upload(clip.path).video_id
    assert line.run("layout", video_id).success and line.run("captions", video_id).success
    with psycopg.connect(postgres_dsn) as connection:
        used = connection.execute(
            "select metadata ->> 'function', metric_value > 0 from captionacc.usage_metrics"
            " where video_id = %s and metric_type = 'processing_minutes' order by id",
            [video_id],
        ).fetchall()
    assert used == [
        ("extract_frames_and_ocr", True),
        ("crop_and_infer_caption_frame_extents", True),
        ("generate_caption_ocr", True),
    ]


def test_assets_show_pictures_and_numbers(line: Line, laid_out):
    result = line.run("captions", laid_out.video_id)
    events = {
        event.asset_key.to_user_string(): event.materialization.metadata
        for event in result.get_asset_materialization_events()
    }
    assert events["cropped_chunks"]["frames"].value == FRAME_COUNT
    assert events["cropped_chunks"]["megabytes"].value > 0.001
    assert events["cropped_chunks"]["seconds"].value > 0
    pairs = [value.value for name, value in events["caption_frame_extents_db"].items() if "pairs_" in name]
    assert sum(pairs) == FRAME_COUNT - 1
    assert events["captions_db"]["captions"].value == 3
    images = events["caption_ocr"]["least_certain"].md_str
    assert images.count("![caption ") == 3
    assert "Only the gulls are still awake." in images
    texts = [record.data["text"] for record in events["subtitles"]["text"].records]
    assert "Only the gulls are still awake." in texts
    shown = {
        "cropped_chunks": "film_strip",
        "caption_frame_extents_db": "probabilities",
        "captions_db": "timeline",
        "layout_approval": "approved_region",
    }
    events |= observed(result)
    for asset, name in shown.items():
        assert picture_of(line, events[asset][name]).width <= WIDTH

    result = line.run("layout", laid_out.video_id)
    events = {
        event.asset_key.to_user_string(): event.materialization.metadata
        for event in result.get_asset_materialization_events()
    }
    events |= observed(result)
    shown = [("source_video", "poster"), ("full_frames", "contact_sheet"), ("raw_ocr_db", "sample")]
    for asset, name in [*shown, ("layout_db", "crop_region"), ("layout_db", "text_in_all_frames")]:
        assert picture_of(line, events[asset][name]).width <= WIDTH
    assert events["source_video"]["resolution"].value == "640 × 360"
    assert any(record.data["confidence"] > 0.5 for record in events["raw_ocr_db"]["texts"].records)
    assert events["layout_db"]["crop_top"].value > 0.7
    assert events["raw_ocr_db"]["frames_failed"].value == 0

    sizes: Counter[str] = Counter()
    for origin, size in rows_of(line.instance, line.row(laid_out.video_id).partition_key):
        sizes[origin] += size
    assert sizes.keys() > {"source_video", "full_frames", "layout_approval", "subtitles", "checks"}
    assert sizes.total() <= BUDGET, sizes


def observed(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, dg.MetadataValue]]:
    """Return the metadata of what the run observed, by asset."""
    found = [
        event.asset_observation_data.asset_observation for event in result.get_asset_observation_events()
    ]
    return {one.asset_key.to_user_string(): dict(one.metadata) for one in found}


def picture_of(line: Line, value: dg.MetadataValue) -> Image.Image:
    """Open the picture that a metadata value links; the UI shows it without a click."""
    assert isinstance(value, dg.MarkdownMetadataValue) and js_length(value.md_str) < INLINE_LENGTH
    tenant, video, name = value.md_str.partition("(/captionacc/pictures/")[2].removesuffix(")").split("/")
    return Image.open(io.BytesIO(line.store.get(VideoKeys(tenant, video).picture(name))))


def test_without_a_policy_the_layout_waits_for_a_person(line: Line, laid_out, clip: Clip):
    line.catalog.set_auto_approve(line.tenant_id, None)
    video_id = line.upload(clip.path).video_id
    assert line.run("layout", video_id).success
    row = line.row(video_id)
    assert (row.layout.status, row.crop_region, row.boundaries.status) == ("annotate", None, "wait")

    early = line.run("captions", video_id)
    assert not early.success
    assert "is not approved" in failure(early)
    assert materialized(early) == []

    line.catalog.approve_layout(video_id, "ann")
    assert line.run("captions", video_id, "cropped_chunks", "caption_frame_extents_db", "captions_db").success
    assert line.row(video_id).caption_count == 3


def test_a_video_without_captions_has_an_empty_result_with_a_note(line: Line, plain_clip: Clip):
    video_id = line.upload(plain_clip.path).video_id
    assert line.run("layout", video_id).success
    row = line.row(video_id)
    assert (row.layout.status, row.layout_found, row.crop_region) == ("annotate", False, None)
    assert row.layout.note

    line.catalog.approve_layout(video_id, "ann", CropRegion(0.05, 0.75, 0.95, 0.98))
    result = line.run("captions", video_id)
    assert result.success and all(checks(result).values())
    row = line.row(video_id)
    assert (row.text.status, row.text_caption_count) == ("annotate", 0)
    assert row.text.note == "no captions found"
    keys = line.keys(video_id)
    assert line.store.get(keys.srt) == b""
    assert line.store.get(keys.vtt).decode().strip() == "WEBVTT"
    assert read_captions(line.store.get(keys.captions_db)) == []
