"""``captionacc backfill``: its selection and output, and that only named conditions are accepted."""

from datetime import UTC, datetime

import psycopg
import pytest

from captionacc_dagster.operations.backfill_requests import CONDITIONS, ConditionError, moment
from captionacc_dagster.resources.catalog import VideoRow
from captionacc_dagster.resources.compute_settings import model_in_use
from captionacc_dagster.settings import Settings
from modal_gpu.extents.checkpoint import shipped
from tests.cli.conftest import Captionacc
from tests.line_fixtures import Line

MODEL = shipped().stem.rpartition("_")[0]


@pytest.fixture
def outdated(finished: VideoRow, postgres_dsn: str) -> VideoRow:
    """The clip with everything made, by an earlier model."""
    with psycopg.connect(postgres_dsn) as database:
        database.execute(
            "update captionacc.caption_frame_extents_inference_runs set model_version = 'extents-0'"
        )
    return finished


def test_by_default_it_only_shows_what_it_would_select(captionacc: Captionacc, line: Line, outdated):
    result = captionacc("backfill", "--model-version", MODEL, "--where", "model-version=extents-0")
    assert result.code == 0
    assert f"1 of 1 videos selected for {MODEL}: 1 on extents-0" in result.text
    assert outdated.video_id[:8] in result.text and "harbour.mp4" in result.text
    again = f"captionacc backfill --model-version {MODEL} --where model-version=extents-0 --apply"
    assert f"Nothing was requested; run `{again}` to request it." in result.text
    assert line.catalog.list_backfills() == []


def test_with_apply_it_requests_once_and_the_list_shows_the_progress(captionacc, line: Line, outdated):
    assert "No backfills." in captionacc("backfill", "--list").text
    result = captionacc("backfill", "--where", f"video={outdated.video_id[:8]}", "--apply")
    (row,) = line.catalog.list_backfills()
    assert result.code == 0 and f"Backfill {row.backfill_id[:8]} requested" in result.text
    assert (row.model_version, row.conditions) == (MODEL, {"video": [outdated.video_id]})
    assert line.catalog.list_backfill_videos(row.backfill_id)[0].video_id == outdated.video_id

    again = captionacc("backfill", "--apply")
    assert again.code == 0 and "0 of 1 videos selected" in again.text
    assert "1 in a backfill already requested" in again.text and "Nothing was requested" not in again.text
    assert len(line.catalog.list_backfills()) == 1

    line.catalog.claim_backfill_videos()
    line.catalog.end_backfill_video(row.backfill_id, outdated.video_id, "no luck [today]")
    listed = captionacc("backfill", "--list")
    assert f"video={outdated.video_id} 0 0 0 0 1 0" in listed.text
    assert f"failed in {row.backfill_id[:8]}: {outdated.video_id[:8]}: no luck [today]" in listed.text


def test_videos_on_the_model_are_not_selected(captionacc: Captionacc, finished: VideoRow):
    result = captionacc("backfill", "--apply")
    assert result.code == 0 and f"0 of 1 videos selected for {MODEL}." in result.text
    assert "1 on this model nothing to do" in result.text


def test_reviewed_videos_are_selected_only_on_request(captionacc: Captionacc, line: Line, outdated: VideoRow):
    line.catalog.complete_review(outdated.video_id, "text")
    result = captionacc("backfill")
    assert "0 of 1 videos" in result.text and "--where status=reviewed includes them" in result.text
    assert "1 of 1 videos" in captionacc("backfill", "--where", "status=reviewed").text


def test_a_model_that_the_functions_do_not_use_is_refused(captionacc: Captionacc, outdated: VideoRow):
    result = captionacc("backfill", "--model-version", "extents-99", "--apply")
    assert result.code == 1
    assert (
        f"error: the functions use the model {MODEL}, so a backfill cannot produce extents-99" in result.text
    )
    assert "EXTENTS_MODEL" in result.text


def test_a_backfill_is_cancelled_by_the_start_of_its_id(captionacc: Captionacc, line: Line, outdated):
    captionacc("backfill", "--apply")
    (row,) = line.catalog.list_backfills()
    result = captionacc("backfill", "--cancel", row.backfill_id[:8])
    assert (
        result.code == 0
        and f"Backfill {row.backfill_id[:8]}: cancelled 1 videos that had not started" in result.text
    )
    assert line.catalog.claim_backfill_videos() == []
    wrong = captionacc("backfill", "--cancel", "zzz")
    assert wrong.code == 1 and "no backfills have an id that begins with 'zzz'" in wrong.text


@pytest.mark.parametrize("options", [("--list", "--apply"), ("--cancel", "85c5", "--list")], ids=" ".join)
def test_options_that_exclude_each_other_are_refused(captionacc: Captionacc, line: Line, outdated, options):
    result = captionacc("backfill", *options)
    assert result.code == 2 and "`--list` and `--cancel` take no other options" in result.text
    assert line.catalog.list_backfills() == []


@pytest.mark.parametrize(
    ("where", "code", "message"),
    [
        ("1=1", 2, "--where '1=1' is not one of tenant=…, video=…"),
        ("tenant", 2, "--where 'tenant' is not one of"),
        ("status=", 2, "--where 'status=' is not one of"),
        ("status=done", 2, "the status must be one of ready, reviewed"),
        ("tenant=acme", 1, "no tenant matches 'acme'"),
        ("tenant=11111111-1111-4111-8111-111111111111", 1, "no tenant matches"),
        ("video=nothing.mp4", 1, "no video matches 'nothing.mp4'"),
        ("uploaded-before=last week", 2, "give a date or a time such as 2026-11-01"),
        ("model-version='; drop table captionacc.videos; --", 0, "0 of 0 videos selected"),
    ],
)
def test_an_invalid_condition_is_explained_in_one_sentence(
    captionacc, line: Line, outdated, where: str, code: int, message: str
):
    result = captionacc("backfill", "--where", where, "--apply")
    assert result.code == code and message in result.text
    assert line.catalog.list_backfills() == [] and line.row(outdated.video_id) == outdated


def test_the_help_names_every_condition(captionacc: Captionacc):
    result = captionacc("backfill", "--help")
    assert result.code == 0 and all(f"{name}=…" in result.text for name in CONDITIONS)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01T12:30", datetime(2026, 11, 1, 12, 30, tzinfo=UTC)),
        ("2026-11-01T00:00+02:00", datetime(2026, 10, 31, 22, tzinfo=UTC)),
    ],
)
def test_times_are_in_utc_unless_they_have_a_time_zone(given: str, meant: datetime):
    assert datetime.fromisoformat(moment("uploaded-before", given)) == meant


def test_an_invalid_date_is_refused():
    with pytest.raises(ConditionError):
        moment("uploaded-before", "2026-13-01")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, MODEL),
        ({"EXTENTS_PREDICTOR": "strokes"}, "strokes-1"),
        ({"EXTENTS_MODEL": "extents-7_0123abcd.safetensors"}, "extents-7"),
        ({"EXTENTS_MODEL": "/models/korean_v2_0123abcd.safetensors"}, "korean_v2"),
        ({"MODAL_ENABLED": "true", "EXTENTS_MODEL": "extents-8_0123abcd.safetensors"}, "extents-8"),
    ],
)
def test_the_current_model_is_the_one_in_the_settings(environment, expected, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert model_in_use(Settings()) == expected
