"""``captionacc infer``: a run for each video at once, and how each ended."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import dagster as dg
import psycopg
import pytest

from captionacc_dagster.cli import infer
from captionacc_dagster.operations import inference
from captionacc_dagster.resources.catalog import CatalogUnavailableError, VideoRow
from captionacc_dagster.runs.tags import RunTags
from modal_gpu.extents.checkpoint import shipped
from tests.cli.conftest import Captionacc
from tests.line_fixtures import Line

ASSETS = ("caption_frame_extents_db", "captions_db", "caption_ocr", "subtitles")
MODEL = shipped().stem.rpartition("_")[0]


class Platform:
    """A platform whose runs are executed as soon as they are queued, in this process."""

    def __init__(self, line: Line) -> None:
        self.line, self.tags = line, []
        self.runs: dict[str, str] = {}

    def submit(self, job: str, run_id: str, tags: Mapping[str, str]) -> None:
        self.tags.append(tags)
        result = self.line.run(job, tags["dagster/partition"], tags=tags)
        self.runs[run_id] = result.run_id

    def get_run_by_id(self, run_id: str) -> dg.DagsterRun | None:
        return self.line.instance.get_run_by_id(self.runs[run_id])


@pytest.fixture
def platform(line: Line, monkeypatch: pytest.MonkeyPatch) -> Platform:
    platform = Platform(line)

    @contextmanager
    def running(here) -> Iterator[infer._Running]:
        yield infer._Running(line.instance, platform.submit, lambda: None)

    monkeypatch.setattr(infer, "_running", running)
    # Runs in this process have ids of their own.
    monkeypatch.setattr(inference, "is_over", lambda instance, run_id: True)
    ended = inference.ended
    monkeypatch.setattr(
        inference,
        "ended",
        lambda catalog, instance, video, run_id: ended(catalog, instance, video, platform.runs[run_id]),
    )
    return platform


def printed(captionacc: Captionacc, *arguments: object, code: int = 0) -> dict:
    result = captionacc("infer", *arguments, "--json")
    assert result.code == code, result.text
    return json.loads(result.output)


def test_a_video_is_labelled_again_with_what_follows(
    captionacc: Captionacc, platform: Platform, line: Line, finished: VideoRow, postgres_dsn: str
):
    with psycopg.connect(postgres_dsn) as database:
        database.execute(
            "update captionacc.caption_frame_extents_inference_runs set model_version = 'extents-0'"
        )
    answer = printed(
        captionacc, "harbour.mp4", "--model-version", MODEL, "--priority", "high", "--skip-if-exists"
    )
    (found,) = answer["videos"]
    keys = line.keys(finished.video_id)
    (run_id,) = platform.runs.values()
    assert answer["model_version"] == MODEL
    assert found == {
        "video_id": finished.video_id,
        "name": "harbour.mp4",
        "status": "completed",
        "run_id": run_id,
        "storage_key": keys.caption_frame_extents_db(1),
        "successful": 79,
        "total_pairs": 79,
        "message": "",
    }
    assert line.catalog.current_inference_run(finished.video_id).model_version == MODEL
    made = {
        key.to_user_string()
        for key in line.instance.get_latest_materialization_events(
            [
                dg.AssetKey(name)
                for name in ("caption_frame_extents_db", "captions_db", "caption_ocr", "subtitles")
            ]
        )
    }
    # The labels are the same, so no caption is read again.
    assert len(made) == 4 and line.compute.names == ["crop_and_infer"]
    (version,) = line.catalog.list_cropped_frames_versions(finished.video_id)
    assert version.version == 1, "frames are not cropped again"

    # With the same model it is done, unless that is asked for again.
    (found,) = printed(captionacc, "harbour.mp4", "--skip-if-exists")["videos"]
    assert (found["status"], found["run_id"], found["total_pairs"]) == ("skipped", run_id, 79)
    assert len(platform.runs) == 1


@pytest.mark.parametrize(
    ("priority", "event", "number", "aging"),
    [("high", "inference", "65", "on"), ("low", "backfill", "15", "off")],
)
def test_the_priority_is_that_of_a_person_or_of_a_backfill(
    line: Line, finished: VideoRow, priority, event, number, aging
):
    seen = []
    inference.request_runs(
        [finished], "infer", priority, RunTags(line.catalog, line.instance),
        lambda job, run_id, tags: seen.append(tags),
    )  # fmt: skip
    (tags,) = seen
    assert (tags["priority"], tags["event"], tags["age-boosting"]) == (number, event, aging)
    assert (tags["trigger"], tags["dagster/partition"]) == ("infer", finished.partition_key)
    assert tags["tenant"] and tags["tier"] == "free"


class TestRejections:
    def test_a_video_that_is_not_cropped_yet(self, captionacc, platform, line: Line, laid_out: VideoRow):
        result = captionacc("infer", laid_out.video_id[:8])
        assert result.code == 1 and "rejected" in result.text and "approve its layout first" in result.text
        recorded = line.catalog.newest_rejection(laid_out.video_id)
        assert recorded.rejection_type == "validation_failed" and recorded.message in result.text
        assert not platform.runs

    def test_a_video_with_too_many_frames(self, line: Line, finished: VideoRow, postgres_dsn: str):
        with psycopg.connect(postgres_dsn) as database:
            database.execute("update captionacc.videos set frame_count = 200001")
        row = line.row(finished.video_id)
        found = inference.without_a_run(line.catalog, row, MODEL, skip_if_exists=True)
        assert found.status == "rejected" and "200001 frames, more than 200000" in found.message
        (recorded,) = line.catalog.list_rejections(row.tenant_id)
        assert (recorded.rejection_type, recorded.video_id) == ("frame_count_exceeded", row.video_id)

    def test_a_video_that_a_run_works_on(self, line: Line, finished: VideoRow):
        line.catalog.begin_stage(finished.video_id, "boundaries", "run-9")
        found = inference.without_a_run(
            line.catalog, line.row(finished.video_id), MODEL, skip_if_exists=False
        )
        assert (found.status, found.message) == ("rejected", "a run works on it: try again when it is done")

    def test_a_catalogue_that_does_not_record_it_changes_nothing(
        self, line: Line, laid_out: VideoRow, monkeypatch
    ):
        def away(*_, **__):
            raise CatalogUnavailableError("no answer")

        monkeypatch.setattr(type(line.catalog), "record_rejection", away)
        assert (
            inference.without_a_run(line.catalog, laid_out, MODEL, skip_if_exists=True).status == "rejected"
        )


def test_a_run_that_fails_is_reported_with_its_reason(captionacc, platform, line: Line, finished: VideoRow):
    def broken(request) -> None:
        from modal_gpu.errors import BadVideoError

        raise BadVideoError("the file is gone")

    line.compute.before["crop_and_infer"] = broken
    (found,) = printed(captionacc, "harbour.mp4", code=1)["videos"]
    assert (found["status"], found["storage_key"]) == ("failed", None) and "the file is gone" in found[
        "message"
    ]


def test_work_beyond_a_cost_limit_is_a_rejection_of_the_run(line: Line, finished: VideoRow):
    line.catalog.record_rejection(
        finished.tenant_id, "cost_exceeded", "it would cost $9", video_id=finished.video_id, run_id="run-5"
    )
    found = inference.ended(line.catalog, line.instance, finished, "run-5")
    assert (found.status, found.message) == ("rejected", "it would cost $9")
    other = inference.ended(line.catalog, line.instance, finished, "run-6")
    assert (other.status, other.message) == ("failed", "the run made no labels")


def test_another_model_than_the_one_in_use_is_refused(captionacc: Captionacc, finished: VideoRow):
    result = captionacc("infer", "harbour.mp4", "--model-version", "extents-99")
    assert result.code == 1 and "cannot produce extents-99" in result.text
