"""Each command: its output and effects, and that bad input is one clear sentence and exit code 1."""

import json
from dataclasses import replace
from pathlib import Path

import pysubs2
import pytest
from PIL import Image

from captionacc_dagster.resources.catalog import VideoRow
from captionacc_dagster.resources.catalog.migrations import load_migrations
from modal_gpu.contracts import CaptionZone, CropRegion
from modal_gpu.databases.captions import read_captions, write_captions
from modal_gpu.timeline import Timeline
from tests.cli.conftest import Captionacc
from tests.clip_fixtures import Clip
from tests.line_fixtures import Line

UNKNOWN = "11111111-1111-4111-8111-111111111111"
COMMANDS = (
    *("demo", "up", "stop", "ingest", "status", "retry", "delete", "rename", "layout"),
    *("captions", "export", "migrate", "model", "doctor"),
)
OF_A_VIDEO = [
    ("status",),
    ("captions",),
    ("export",),
    ("retry",),
    ("layout", "show"),
    ("layout", "approve"),
]


def test_without_a_command_it_lists_the_commands(captionacc: Captionacc):
    result = captionacc("--help")
    assert result.code == 0
    for command in COMMANDS:
        assert command in result.text


@pytest.mark.parametrize("command", OF_A_VIDEO, ids=" ".join)
@pytest.mark.parametrize(
    ("name", "message"),
    [
        (UNKNOWN, f"video {UNKNOWN} is not in the catalogue"),
        ("deadbeef", "no video matches 'deadbeef'; `captionacc status` lists all videos"),
        ("nothing.mp4", "no video matches 'nothing.mp4'"),
    ],
    ids=["id", "prefix", "file"],
)
def test_an_unknown_video_is_refused(captionacc: Captionacc, command, name: str, message: str):
    result = captionacc(*command, name)
    assert result.code == 1
    assert f"error: {message}" in result.text


@pytest.mark.parametrize("given", ["id", "prefix", "upper-case prefix", "partition key", "file"])
def test_a_video_is_known_by_id_prefix_or_file_name(captionacc: Captionacc, finished: VideoRow, given: str):
    video_id = finished.video_id
    name = {
        "id": video_id,
        "prefix": video_id[:8],
        "upper-case prefix": video_id[:8].upper(),
        "partition key": f"harbour.mp4~{video_id}",
        "file": "harbour.mp4",
    }[given]
    result = captionacc("captions", name)
    assert result.code == 0 and "Only the gulls are still awake." in result.text


class TestStatus:
    def test_without_videos_it_explains_how_to_begin(self, captionacc: Captionacc):
        result = captionacc("status")
        assert result.code == 0 and "captionacc ingest FILE" in result.text

    def test_all_videos_are_listed_with_their_stages(
        self, captionacc: Captionacc, line: Line, finished: VideoRow, clip: Clip
    ):
        failed = line.upload(clip.path).video_id
        line.catalog.fail_stage(failed, "layout", "run-1", "the file is not a video")
        working = line.upload(clip.path).video_id
        line.catalog.begin_stage(working, "layout", "run-2")
        result = captionacc("status")
        assert result.code == 0
        for video_id in (finished.video_id, failed, working):
            assert video_id[:8] in result.text
        for word in ("done", "ready", "error", "working", "wait"):
            assert word in result.text

    def test_one_video_is_shown_in_detail(self, captionacc: Captionacc, finished: VideoRow):
        result = captionacc("status", finished.video_id)
        assert result.code == 0
        for part in (
            finished.video_id,
            finished.tenant_id,
            "640 × 360",
            "h264",
            "8.0 s",
            "by auto",
            "version 1",
        ):
            assert part in result.text

    def test_an_error_is_shown_with_its_run(self, captionacc: Captionacc, line: Line, clip: Clip):
        video_id = line.upload(clip.path).video_id
        line.catalog.fail_stage(video_id, "layout", "run-1", "the file is cut off [moov] before its index")
        result = captionacc("status", video_id)
        assert result.code == 0
        assert "the file is cut off [moov] before its index" in result.text and "run-1" in result.text


class TestRetry:
    def test_a_failed_stage_waits_again_after_retry(self, captionacc: Captionacc, line: Line, clip: Clip):
        video_id = line.upload(clip.path).video_id
        line.catalog.fail_stage(video_id, "layout", "run-1", "no space left")
        result = captionacc("retry", video_id)
        assert result.code == 0 and "will retry layout" in result.text
        assert line.row(video_id).layout.status == "wait"

    def test_a_video_without_a_failed_stage_is_left_alone(self, captionacc, finished: VideoRow):
        result = captionacc("retry", finished.video_id)
        assert result.code == 0 and "no stage has failed" in result.text


class TestLayout:
    def test_it_is_shown_and_drawn(self, captionacc: Captionacc, finished: VideoRow, tmp_path: Path):
        picture = tmp_path / "layout.jpg"
        result = captionacc("layout", "show", finished.video_id, "--picture", picture)
        assert result.code == 0
        assert f"{finished.crop_region.crop_top:.4f}" in result.text
        assert "by auto, version 1" in result.text
        assert Image.open(picture).size[0] == 960

    def test_an_unwritable_picture_is_explained_in_one_sentence(self, captionacc, finished: VideoRow):
        result = captionacc("layout", "show", finished.video_id, "--picture", "/nowhere/layout.jpg")
        assert result.code == 1 and "/nowhere/layout.jpg" in result.text

    def test_before_the_first_run_the_message_explains_it(
        self, captionacc: Captionacc, line: Line, clip: Clip
    ):
        video_id = line.upload(clip.path).video_id
        for command in ("show", "approve"):
            result = captionacc("layout", command, video_id)
            assert result.code == 1 and "has no layout yet" in result.text

    def test_approving_uses_the_detected_region(self, captionacc, line: Line, laid_out, clip: Clip):
        line.catalog.set_auto_approve(line.tenant_id, None)
        video_id = line.upload(clip.path).video_id
        assert line.run("layout", video_id).success
        result = captionacc("layout", "approve", video_id)
        assert result.code == 0 and "Approved harbour.mp4" in result.text
        row = line.row(video_id)
        assert row.crop_region == row.proposed_crop_region
        assert row.layout_approved_by not in (None, "auto")

    def test_a_custom_region_is_set(self, captionacc: Captionacc, line: Line, finished: VideoRow):
        result = captionacc(
            "layout", "set", finished.video_id, "--left", 0.1, "--top", 0.7, "--right", 0.9, "--bottom", 1
        )
        assert result.code == 0
        row = line.row(finished.video_id)
        assert (row.crop_region, row.crop_region_version) == (CropRegion(0.1, 0.7, 0.9, 1.0), 2)
        assert (row.boundaries.status, row.text.status) == ("wait", "wait")

    def test_a_region_is_given_and_shown_in_pixels_too(self, captionacc, line: Line, finished: VideoRow):
        video, sides = finished.video_id, ("--left=64", "--top=252", "--right=576", "--bottom=360")
        result = captionacc("layout", "set", video, *sides)
        assert result.code == 0 and "top 0.7000" in result.text and "(pixels 64,252,576,360)" in result.text
        assert line.row(video).crop_region == CropRegion(0.1, 0.7, 0.9, 1.0)
        zone = ("--left=64", "--top=0", "--right=576", "--bottom=36")
        assert "Zone 1: left 0.1000, top 0.0000" in captionacc("layout", "add-zone", video, *zone).text
        assert captionacc("layout", "move-zone", video, 1, "--left=0", *zone[1:]).code == 0
        assert "zone 1 left 0.0000, top 0.0000, right 0.9000" in captionacc("status", video).text
        shown = captionacc("layout", "show", video).text
        assert "top 0.7000 (pixel 252)" in shown and "(pixels 0,0,576,36)" in shown

    @pytest.mark.parametrize(
        ("left", "top", "right", "bottom", "error"),
        [
            (0.1, 0.7, 1.2, 1, "give fractions from 0 to 1, or whole pixels"),
            (10, 200, 700, 300, "outside of the frame of 640 × 360 pixels"),
            (-0.1, 0.7, 0.9, 1, "-0.1 is not in the range 0<=x<=65536"),
            (0.9, 0.7, 0.1, 1, "is not inside"),
            (0.1, 0.7, 0.9, 0.7, "is not inside"),
            ("nan", 0, 1, 1, "nan"),
        ],
    )
    def test_a_bad_region_is_refused_with_its_values(
        self, captionacc: Captionacc, line: Line, finished: VideoRow, left, top, right, bottom, error
    ):
        sides = {"left": left, "top": top, "right": right, "bottom": bottom}
        arguments = [part for side, value in sides.items() for part in (f"--{side}={value}",)]
        result = captionacc("layout", "set", finished.video_id, *arguments)
        assert error in result.text
        assert result.code == (2 if "range" in error or error == "nan" else 1)
        if error == "is not inside":
            assert all(f"{side}={float(value)}" in result.text for side, value in sides.items())
        assert line.row(finished.video_id).crop_region == finished.crop_region

    def test_zones_are_added_moved_removed_and_shown(
        self, captionacc: Captionacc, line: Line, finished: VideoRow
    ):
        def sides(*values: float) -> list[str]:
            names = ("left", "top", "right", "bottom")
            return [f"--{name}={value}" for name, value in zip(names, values, strict=True)]

        video, top = finished.video_id, CropRegion(0.1, 0.05, 0.9, 0.2)
        added = captionacc("layout", "add-zone", video, *sides(0.1, 0.05, 0.9, 0.2), "--language", "pt-BR")
        assert added.code == 0 and "Zone 1: left 0.1000, top 0.0500" in added.text
        assert captionacc("layout", "add-zone", video, *sides(0, 0.4, 1, 0.5)).code == 0
        row = line.row(video)
        assert row.caption_zones == (CaptionZone(1, top, "pt-BR"), CaptionZone(2, CropRegion(0, 0.4, 1, 0.5)))
        assert (row.crop_region, row.crop_region_version) == (finished.crop_region, 3)
        assert (row.boundaries.status, row.text.status) == ("wait", "wait")

        # Zone 0 moves alone, and a zone keeps its language and its number.
        assert captionacc("layout", "set", video, *sides(0.1, 0.7, 0.9, 1)).code == 0
        assert captionacc("layout", "move-zone", video, 1, *sides(0.1, 0.1, 0.9, 0.2)).code == 0
        moved = line.row(video).caption_zones[0]
        assert (moved.crop_region.crop_top, moved.language) == (0.1, "pt-BR")
        shown = captionacc("layout", "show", video).text
        assert "zone 1" in shown and "language pt-BR" in shown and "zone 2" in shown
        assert captionacc("layout", "remove-zone", video, 1).code == 0
        assert [zone.zone_index for zone in line.row(video).caption_zones] == [2]

    def test_the_number_of_a_removed_zone_stays_with_its_captions(
        self, captionacc: Captionacc, line: Line, finished: VideoRow
    ):
        """A person's captions of the removed zone would otherwise be moved into the new one."""
        key = line.keys(finished.video_id).captions_db
        first, *others = read_captions(line.store.get(key))
        kept = replace(first, zone=1, state="confirmed", text="Mine.")
        line.store.put(key, write_captions([kept, *others]))
        sides = ("--left=0", "--top=0", "--right=1", "--bottom=0.1")
        assert captionacc("layout", "add-zone", finished.video_id, *sides).code == 0
        assert [zone.zone_index for zone in line.row(finished.video_id).caption_zones] == [2]

    def test_a_zone_that_is_not_there_is_named_with_those_that_are(
        self, captionacc, line, finished: VideoRow
    ):
        for command in (("remove-zone",), ("move-zone", "--left=0", "--top=0", "--right=1", "--bottom=0.1")):
            result = captionacc("layout", command[0], finished.video_id, 3, *command[1:])
            assert result.code == 1 and "has no zone 3" in result.text and "it has none" in result.text
        bad = captionacc(
            *("layout", "add-zone", finished.video_id, "--left=0", "--top=0", "--right=1", "--bottom=0.1"),
            "--language=English, please",
        )
        assert bad.code == 1 and "language" in bad.text
        assert line.row(finished.video_id).caption_zones == ()

    def test_a_side_that_is_not_a_number_is_a_usage_error(self, captionacc, finished: VideoRow):
        result = captionacc(
            "layout", "set", finished.video_id, "--left=a", "--top=0", "--right=1", "--bottom=1"
        )
        assert result.code == 2 and "'a' is not a valid float" in result.text


class TestCaptionsAndExport:
    def test_captions_are_shown_with_their_times(self, captionacc: Captionacc, finished: VideoRow):
        result = captionacc("captions", finished.video_id)
        assert result.code == 0
        assert "Every evening the harbour falls silent." in result.text
        assert "0:05.0" in result.text or "0:05.1" in result.text

    def test_text_that_looks_like_markup_is_shown_as_it_is(self, captionacc, line: Line, finished: VideoRow):
        keys = line.keys(finished.video_id)
        captions = read_captions(line.store.get(keys.captions_db))
        line.store.put(
            keys.captions_db,
            write_captions([replace(captions[0], text="[bold]Hello[/bold] [/]"), *captions[1:]]),
        )
        result = captionacc("captions", finished.video_id)
        assert result.code == 0 and "[bold]Hello[/bold] [/]" in result.text and "person" in result.text

    @pytest.mark.parametrize("format", ["srt", "vtt"])
    def test_subtitles_are_written_to_standard_output(self, captionacc, line: Line, finished, format: str):
        result = captionacc("export", finished.video_id, "--format", format)
        assert result.code == 0
        assert result.output == line.store.get(getattr(line.keys(finished.video_id), format)).decode()
        assert len(pysubs2.SSAFile.from_string(result.output, format)) == 3

    def test_srt_is_the_default_and_a_file_is_written(self, captionacc, line: Line, finished, tmp_path: Path):
        path = tmp_path / "out.srt"
        result = captionacc("export", finished.video_id, "-o", path)
        assert result.code == 0 and str(path) in result.output.replace("\n", "")
        assert path.read_bytes() == line.store.get(line.keys(finished.video_id).srt)

    def test_json_has_times_frames_and_confidence(self, captionacc: Captionacc, finished: VideoRow):
        rows = json.loads(captionacc("export", finished.video_id, "--format", "json").output)
        assert [row["text"] for row in rows][1] == "Only the gulls are still awake."
        assert all(row["start_seconds"] < row["end_seconds"] <= 8 for row in rows)
        assert all(0.8 < row["ocr_confidence"] <= 1 and row["source"] == "ocr" for row in rows)

    def test_every_output_counts_as_players_do(self, captionacc: Captionacc, line: Line, finished: VideoRow):
        before = json.loads(captionacc("export", finished.video_id, "--format", "json").output)
        line.catalog.begin_stage(finished.video_id, "layout", "run")
        late = Timeline.from_rows([(0, 61.5, True)])
        line.catalog.record_times(
            finished.video_id, "layout", "run", frame_count=80, duration_seconds=8, timeline=late
        )
        line.catalog.release_stage(finished.video_id, "layout", "run")
        rows = json.loads(captionacc("export", finished.video_id, "--format", "json").output)
        for row, old in zip(rows, before, strict=True):
            assert row["start_seconds"] == pytest.approx(old["start_seconds"] + 61.5)
            assert row["end_seconds"] == pytest.approx(old["end_seconds"] + 61.5)
            assert (row["start_index"], row["end_index"]) == (old["start_index"], old["end_index"])
        for format in ("srt", "vtt"):
            text = captionacc("export", finished.video_id, "--format", format).output
            cues = pysubs2.SSAFile.from_string(text, format)
            assert [cue.start for cue in cues] == [round(row["start_seconds"] * 1000) for row in rows]
        assert "1:06.6" in captionacc("captions", finished.video_id).text  # the third one, from 5.08 s on

    def test_an_unknown_format_is_a_usage_error_that_names_the_known(self, captionacc, finished: VideoRow):
        result = captionacc("export", finished.video_id, "--format", "docx")
        assert result.code == 2
        assert all(f"'{known}'" in result.text for known in ("srt", "vtt", "json"))

    def test_an_unwritable_file_is_explained_in_one_sentence(self, captionacc, finished: VideoRow):
        result = captionacc("export", finished.video_id, "-o", "/nowhere/out.srt")
        assert result.code == 1 and "/nowhere/out.srt" in result.text

    @pytest.mark.parametrize("command", ["captions", "export"])
    def test_before_there_are_captions_the_message_explains_it(
        self, captionacc, laid_out: VideoRow, command: str
    ):
        result = captionacc(command, laid_out.video_id)
        assert result.code == 1
        assert f"video {laid_out.video_id} has no captions yet" in result.text


class TestInstallation:
    def test_migrating_twice_does_nothing_the_second_time(self, captionacc, empty_dsn: str, monkeypatch):
        monkeypatch.setenv("CAPTIONACC_DATABASE_URL", empty_dsn)
        early = captionacc("status")
        assert early.code == 1 and "captionacc migrate" in early.text
        first = captionacc("migrate")
        assert first.code == 0 and first.output.count("applied ") == len(load_migrations())
        second = captionacc("migrate")
        assert second.code == 0 and "up to date" in second.text

    def test_a_schema_of_another_name_is_migrated_used_and_written(
        self, captionacc, empty_dsn: str, monkeypatch, tmp_path: Path
    ):
        monkeypatch.setenv("CAPTIONACC_DATABASE_URL", empty_dsn)
        monkeypatch.setenv("CAPTIONACC_SCHEMA", "captionacc_production")
        early = captionacc("status")
        assert (
            early.code == 1 and "captionacc migrate" in early.text and "captionacc_production" in early.text
        )
        assert captionacc("migrate").output.count("applied ") == len(load_migrations())
        status = captionacc("status")
        assert status.code == 0 and "No videos yet" in status.text
        written = captionacc("migrate", "--write", tmp_path / "supabase")
        assert written.code == 0 and f"{len(load_migrations())} new files" in written.text
        assert len(list((tmp_path / "supabase").glob("*_captionacc_production_*.sql"))) == len(
            load_migrations()
        )

    def test_a_reserved_schema_name_is_explained_in_one_sentence(self, captionacc, monkeypatch):
        monkeypatch.setenv("CAPTIONACC_SCHEMA", "auth")
        result = captionacc("migrate")
        assert result.code == 1 and "CAPTIONACC_SCHEMA" in result.text and "Supabase's own" in result.text

    def test_the_doctor_finds_no_fault_in_a_working_installation(
        self, captionacc: Captionacc, line: Line, finished
    ):
        result = captionacc("doctor")
        assert result.code == 0, result.text
        assert result.output.count("✓") == 8 and "✗" not in result.output
        for part in ("Python", "catalogue", "object store", "OCR", "Dagster", "Modal", "1 videos"):
            assert part in result.text
        assert list(line.store.list("doctor/")) == []

    def test_the_doctor_reports_what_is_wrong_with_the_storage(self, captionacc: Captionacc, monkeypatch):
        monkeypatch.setenv("CAPTIONACC_STORAGE_URL", "ftp://bucket")
        result = captionacc("doctor")
        assert result.code == 1
        assert result.output.count("✗") == 1
        assert "this one has the scheme 'ftp'" in result.text and "s3://" in result.text

    def test_the_doctor_reports_that_the_database_does_not_answer(self, captionacc: Captionacc, monkeypatch):
        secret = "hunter2hunter2"
        monkeypatch.setenv("CAPTIONACC_DATABASE_URL", f"postgresql://me:{secret}@127.0.0.1:1/captions")
        result = captionacc("doctor")
        assert result.code == 1 and "✗ catalogue" in result.text
        assert secret not in result.text

    def test_the_doctor_names_a_missing_model(self, captionacc: Captionacc, monkeypatch):
        monkeypatch.setenv("OCR_RECOGNITION_MODEL", "/models/ko.onnx")
        result = captionacc("doctor")
        assert result.code == 1 and "✗ OCR" in result.text and "/models/ko.onnx" in result.text

    def test_an_invalid_setting_is_named(self, captionacc: Captionacc, monkeypatch):
        monkeypatch.setenv("CAPTIONACC_PORT", "many")
        result = captionacc("status")
        assert result.code == 1
        assert "CAPTIONACC_PORT: Input should be a valid integer" in result.text

    def test_stop_does_not_touch_an_external_database(self, captionacc: Captionacc):
        result = captionacc("stop")
        assert result.code == 0 and "no server to stop" in result.text
