"""``captions set|split|merge|shift|confirm`` and ``import``: people's edits that runs keep."""

import json
from dataclasses import replace
from pathlib import Path

import psycopg
import pysubs2
import pytest

from captionacc_dagster.assets.checks import (
    INSPECTIONS,
    find_problems,
)
from captionacc_dagster.operations.caption_edits import edit_captions
from captionacc_dagster.resources.catalog import VideoRow
from modal_gpu.captions import single_edits
from modal_gpu.captions.merging import merge_extents
from modal_gpu.captions.subtitles import timed_cues
from modal_gpu.databases.captions import read_captions, write_captions
from modal_gpu.databases.extents import read_extents
from modal_gpu.extents.decoder import decode, settings_for
from modal_gpu.timeline import Timeline, TimeSpan
from tests.cli.conftest import Captionacc
from tests.line_fixtures import Line
from tests.modal_gpu.captions.test_growth import states, words
from tests.run_results import checks


def stored(line: Line, video: VideoRow):
    return read_captions(line.store.get(line.keys(video.video_id).captions_db))


def exported(captionacc: Captionacc, format: str = "srt") -> str:
    return captionacc("export", "harbour.mp4", "--format", format).output


def rows(captionacc: Captionacc):
    return json.loads(captionacc("captions", "harbour.mp4", "--json").output)


def put(line: Line, video: VideoRow, captions) -> None:
    line.store.put(line.keys(video.video_id).captions_db, write_captions(captions))


def problems(line: Line, video: VideoRow) -> list[str]:
    names = ("captions_do_not_overlap", "subtitles_match_captions")
    row = line.row(video.video_id)
    return [one for name in names for one in find_problems(INSPECTIONS[name], row, line.store)]


class TestCommands:
    def test_ids_are_shown_with_and_without_the_word_show(self, captionacc: Captionacc, finished: VideoRow):
        first = rows(captionacc)[0]
        result = captionacc("captions", "harbour.mp4")
        assert result.output == captionacc("captions", "show", "harbour.mp4").output
        assert result.output.splitlines()[1].split()[0] == str(first["id"])

    def test_each_edit_is_published_and_survives_a_new_run(
        self, captionacc: Captionacc, finished: VideoRow, line: Line
    ):
        first, second, third = rows(captionacc)[:3]
        result = captionacc("captions", "set", "harbour.mp4", first["id"], "--text", "Mine!")
        assert result.code == 0 and "1 text changed. They are a person's now" in result.text
        middle = (second["start_seconds"] + second["end_seconds"]) / 2
        done = captionacc(
            "captions",
            "split",
            "harbour.mp4",
            second["id"],
            "--at",
            f"{middle:.3f}",
            "--text",
            "A",
            "--text",
            "B",
        )
        assert done.code == 0
        assert captionacc("captions", "confirm", "harbour.mp4", third["id"]).code == 0
        shifted = captionacc("captions", "shift", "harbour.mp4", first["id"], "--by", "-0.05", "--json")
        assert json.loads(shifted.output)["counts"]["times moved"] == 1
        found = rows(captionacc)
        assert [row["text"] for row in found[:4]] == ["Mine!", "A", "B", third["text"]]
        assert found[0]["start_seconds"] == pytest.approx(first["start_seconds"] - 0.05, abs=0.002)
        assert {row["state"] for row in found[:4]} == {"confirmed"}
        keys = line.keys(finished.video_id)
        assert line.store.get(keys.srt).decode() == exported(captionacc)
        assert problems(line, finished) == []

        video = line.row(finished.video_id)
        run, predictions = read_extents(line.store.get(keys.caption_frame_extents_db(1)))
        extents = decode(predictions, settings_for(run.model_version))
        media = video.media()
        again = merge_extents(stored(line, finished), extents, media.frame_count, media.duration_seconds)
        put(line, finished, again)
        assert rows(captionacc)[:4] == found[:4]

    def test_merge_joins_what_follows_each_other(
        self, captionacc: Captionacc, finished: VideoRow, line: Line
    ):
        first, second, third = rows(captionacc)[:3]
        refused = captionacc("captions", "merge", "harbour.mp4", first["id"], third["id"])
        assert refused.code == 1 and f"are others: {second['id']}" in refused.text
        assert captionacc("captions", "merge", "harbour.mp4", first["id"], second["id"]).code == 0
        merged = rows(captionacc)[0]
        assert merged["text"] == f"{first['text']}\n{second['text']}"
        assert (merged["id"], merged["end_seconds"]) == (first["id"], second["end_seconds"])
        assert line.row(finished.video_id).text_caption_count == len(rows(captionacc))

    def test_a_dry_run_writes_nothing(self, captionacc: Captionacc, finished: VideoRow, line: Line):
        before = line.stored(finished.video_id)
        result = captionacc("captions", "shift", "harbour.mp4", "--all", "--by", "0.1", "--dry-run")
        assert result.code == 0 and "times moved. Nothing was written." in result.text
        assert line.stored(finished.video_id) == before

    @pytest.mark.parametrize(
        ("arguments", "code", "message"),
        [
            (("set", "harbour.mp4", 1), 2, "nothing to set"),
            (("set", "harbour.mp4", 9999, "--text", "x"), 1, "there is no caption 9999"),
            (("set", "harbour.mp4", 1, "--end", "9:00:00"), 1, "after the video's end"),
            (("set", "harbour.mp4", 1, "--end", "soon"), 2, "is not a time: write it as"),
            (("split", "harbour.mp4", 1, "--at", "0"), 1, "is not inside caption 1"),
            (("split", "harbour.mp4", 1, "--at", "2", "--text", "x"), 2, "give `--text` twice"),
            (("merge", "harbour.mp4", 1), 2, "at least two"),
            (("shift", "harbour.mp4", "--all"), 2, "give `--by`"),
            (("shift", "harbour.mp4", "--by", "nan"), 2, "not a number"),
            (("shift", "harbour.mp4", "--by", "1"), 2, "by their ids, or give `--all`"),
            (("confirm", "harbour.mp4", 1, "--all"), 2, "by their ids, or give `--all`"),
            (("confirm", "nothere.mp4", "--all"), 1, "no video matches"),
        ],
    )
    def test_bad_input_is_one_sentence(
        self, captionacc: Captionacc, finished: VideoRow, line: Line, arguments, code: int, message: str
    ):
        before = line.stored(finished.video_id)
        result = captionacc("captions", *arguments)
        assert result.code == code and message in result.text
        assert line.stored(finished.video_id) == before

    def test_a_video_without_captions_is_refused(self, captionacc: Captionacc, laid_out: VideoRow):
        result = captionacc("captions", "confirm", "harbour.mp4", "--all")
        assert result.code == 1 and "has no captions yet" in result.text

    def test_the_lock_is_respected(
        self, captionacc: Captionacc, finished: VideoRow, line: Line, monkeypatch: pytest.MonkeyPatch
    ):
        lease = line.catalog.lease
        monkeypatch.setattr(
            "captionacc_dagster.resources.catalog.locks.LockCalls.lease",
            lambda self, video, name, owner, **_: lease(video, name, owner, wait_seconds=0),
        )
        before = line.stored(finished.video_id)
        with lease(finished.video_id, "captions", "the web app"):
            result = captionacc("captions", "confirm", "harbour.mp4", "--all")
        assert result.code == 1 and "is locked by the web app" in result.text
        assert line.stored(finished.video_id) == before

    def test_the_row_is_that_of_the_time_of_the_edit(self, finished: VideoRow, line: Line):
        """A run that held the lock may have changed the row that the command found."""
        stale = replace(finished, timeline=Timeline((TimeSpan(0, 50.0),)))
        edited = edit_captions(
            line.catalog,
            line.store,
            stale,
            lambda cues: [single_edits.confirm(cues[0])],
            owner="somebody",
            growing="fold",
        )
        [cue, *_] = timed_cues(edited.captions, finished.timeline)
        assert edited.is_written and edited.changes[0].before[0].start == cue.start


class TestGrowing:
    def test_the_setting_keeps_states_apart(
        self, captionacc: Captionacc, finished: VideoRow, line: Line, monkeypatch: pytest.MonkeyPatch
    ):
        put(line, finished, states(*words("Good evening and welcome.")))
        assert [row["text"] for row in rows(captionacc)] == ["Good evening and welcome."]
        assert exported(captionacc).count("-->") == 1
        monkeypatch.setenv("CAPTIONACC_GROWING_CAPTIONS", "keep")
        assert len(rows(captionacc)) == 4

    def test_counts_and_checks_see_the_folded_captions(
        self, captionacc: Captionacc, finished: VideoRow, line: Line
    ):
        put(line, finished, states("One goes.", "One goes.\nTwo comes.", "Two comes.\nThree.", "Three."))
        assert captionacc("captions", "set", "harbour.mp4", 2, "--text", "Two!").code == 0
        assert [row["text"] for row in rows(captionacc)] == ["One goes.", "Two!", "Three."]
        assert problems(line, finished) == []


class TestImport:
    @pytest.mark.parametrize("format", ["srt", "vtt", "ass"])
    def test_an_exported_file_changes_nothing(
        self, captionacc: Captionacc, finished: VideoRow, line: Line, tmp_path: Path, format: str
    ):
        before = line.stored(finished.video_id)
        path = tmp_path / f"same.{format}"
        path.write_text(exported(captionacc, format))
        result = captionacc("import", "harbour.mp4", path)
        assert result.code == 0 and "nothing to change. Nothing was written." in result.text
        assert line.stored(finished.video_id) == before

    def test_a_corrected_file_becomes_peoples_captions(
        self, captionacc: Captionacc, finished: VideoRow, line: Line, tmp_path: Path
    ):
        found = rows(captionacc)
        path = tmp_path / "corrected.srt"
        path.write_text(exported(captionacc).replace(found[1]["text"], "<i>Corrected.</i>"))
        preview = captionacc("import", "harbour.mp4", path, "--dry-run", "--json")
        assert json.loads(preview.output)["written"] is False
        result = captionacc("import", "harbour.mp4", path)
        assert result.code == 0
        assert f"text changed: caption {found[1]['id']}: {found[1]['text']} → Corrected." in result.text
        assert f"{len(found) - 1} kept, 1 text changed." in result.text
        assert "1 captions of" in result.errors and "have formatting" in result.errors
        assert all(caption.belongs_to_person for caption in stored(line, finished) if caption.is_shown)
        assert [row["text"] for row in rows(captionacc)][1] == "Corrected."
        assert problems(line, finished) == []
        assert "nothing to change" in captionacc("import", "harbour.mp4", path).text

    def test_a_run_keeps_what_an_imported_file_says(
        self, captionacc: Captionacc, finished: VideoRow, line: Line, tmp_path: Path
    ):
        """One caption is split, one removed, one added; then the graph makes the captions again."""
        file = pysubs2.SSAFile.from_string(exported(captionacc))
        first, second = file[0], file[1]
        middle = (first.start + first.end) // 2
        file.append(pysubs2.SSAEvent(middle, first.end, "and the rest."))
        first.end, first.text = middle, first.text.split()[0]
        file.remove(second)
        file.append(pysubs2.SSAEvent(200, 400, "Added."))
        file.sort()
        path = tmp_path / "corrected.srt"
        file.save(str(path))
        assert captionacc("import", "harbour.mp4", path).code == 0
        assert captionacc("export", "harbour.mp4").output.strip() == path.read_text().strip()

        result = line.run("captions", finished.video_id)

        assert result.success and all(checks(result).values())
        assert captionacc("export", "harbour.mp4").output.strip() == path.read_text().strip()
        assert line.row(finished.video_id).text_caption_count == len(file)

    def test_unusable_files_are_refused_and_nothing_changes(
        self, captionacc: Captionacc, finished: VideoRow, line: Line, tmp_path: Path
    ):
        before = line.stored(finished.video_id)
        late = "1\n05:00:00,000 --> 05:00:01,000\nLate.\n"
        for name, data, message in (
            ("empty.srt", b"", "is empty"),
            ("latin.srt", b"1\n00:00:01,000 --> 00:00:02,000\nGr\xfc\xdfe\n", "is not in UTF-8 (line 3)"),
            ("foreign.srt", b"<html></html>", "is not in the format of its name"),
            ("late.srt", late.encode(), "after the video's end"),
        ):
            path = tmp_path / name
            path.write_bytes(data)
            result = captionacc("import", "harbour.mp4", path)
            assert result.code == 1 and message in result.text
        assert captionacc("import", "harbour.mp4", tmp_path / "none.srt").code == 1
        assert line.stored(finished.video_id) == before

    def test_times_count_from_the_containers_start(
        self, captionacc: Captionacc, finished: VideoRow, line: Line, tmp_path: Path, postgres_dsn: str
    ):
        with psycopg.connect(postgres_dsn) as connection:
            connection.execute("update captionacc.videos set time_spans = '[[0, 0.75, true]]'")
        found = rows(captionacc)[0]
        first = stored(line, finished)[0]
        assert found["start_seconds"] == pytest.approx(first.start_seconds + 0.75, abs=0.001)
        start = found["start_seconds"] - 0.3
        assert captionacc("captions", "set", "harbour.mp4", first.id, "--start", f"{start:.3f}").code == 0
        assert stored(line, finished)[0].start_seconds == pytest.approx(first.start_seconds - 0.3, abs=0.001)
        path = tmp_path / "same.srt"
        path.write_text(exported(captionacc))
        assert "nothing to change" in captionacc("import", "harbour.mp4", path).text
