"""``captions`` and ``export``: what a video's captions look like on the screen and in files."""

import json
from dataclasses import replace
from pathlib import Path

import pysubs2
import pytest

from captionacc_dagster.resources.catalog import VideoRow
from modal_gpu.databases.captions import read_captions, write_captions
from modal_gpu.timeline import Timeline
from tests.cli.conftest import Captionacc
from tests.line_fixtures import Line


def test_captions_are_shown_with_their_times(captionacc: Captionacc, finished: VideoRow):
    result = captionacc("captions", finished.video_id)
    assert result.code == 0
    assert "Every evening the harbour falls silent." in result.text
    assert "0:05.0" in result.text or "0:05.1" in result.text


def test_text_that_looks_like_markup_is_shown_as_it_is(captionacc, line: Line, finished: VideoRow):
    keys = line.keys(finished.video_id)
    captions = read_captions(line.store.get(keys.captions_db))
    line.store.put(
        keys.captions_db,
        write_captions([replace(captions[0], text="[bold]Hello[/bold] [/]"), *captions[1:]]),
    )
    result = captionacc("captions", finished.video_id)
    assert result.code == 0 and "[bold]Hello[/bold] [/]" in result.text and "person" in result.text


@pytest.mark.parametrize("format", ["srt", "vtt"])
def test_subtitles_are_written_to_standard_output(captionacc, line: Line, finished, format: str):
    result = captionacc("export", finished.video_id, "--format", format)
    assert result.code == 0
    assert result.output == line.store.get(getattr(line.keys(finished.video_id), format)).decode()
    assert len(pysubs2.SSAFile.from_string(result.output, format)) == 3


def test_srt_is_the_default_and_a_file_is_written(captionacc, line: Line, finished, tmp_path: Path):
    path = tmp_path / "out.srt"
    result = captionacc("export", finished.video_id, "-o", path)
    assert result.code == 0 and str(path) in result.output.replace("\n", "")
    assert path.read_bytes() == line.store.get(line.keys(finished.video_id).srt)


def test_json_has_times_frames_and_confidence(captionacc: Captionacc, finished: VideoRow):
    rows = json.loads(captionacc("export", finished.video_id, "--format", "json").output)
    assert [row["text"] for row in rows][1] == "Only the gulls are still awake."
    assert all(row["start_seconds"] < row["end_seconds"] <= 8 for row in rows)
    assert all(0.8 < row["ocr_confidence"] <= 1 and row["source"] == "ocr" for row in rows)


def test_every_output_counts_as_players_do(captionacc: Captionacc, line: Line, finished: VideoRow):
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


def test_an_unknown_format_is_a_usage_error_that_names_the_known(captionacc, finished: VideoRow):
    result = captionacc("export", finished.video_id, "--format", "docx")
    assert result.code == 2
    assert all(f"'{known}'" in result.text for known in ("srt", "vtt", "json"))


def test_an_unwritable_file_is_explained_in_one_sentence(captionacc, finished: VideoRow):
    result = captionacc("export", finished.video_id, "-o", "/nowhere/out.srt")
    assert result.code == 1 and "/nowhere/out.srt" in result.text


@pytest.mark.parametrize("command", ["captions", "export"])
def test_before_there_are_captions_the_message_explains_it(captionacc, laid_out: VideoRow, command: str):
    result = captionacc(command, laid_out.video_id)
    assert result.code == 1
    assert f"video {laid_out.video_id} has no captions yet" in result.text
