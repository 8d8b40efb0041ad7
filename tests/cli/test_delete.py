"""``delete``: what it announces, its confirmation, and the end of the video's run."""

import io
import sys

import pytest

from captionacc_dagster.resources.catalog import VideoRow
from tests.clip_fixtures import Clip
from tests.line_fixtures import Line


class TestDelete:
    def test_it_announces_what_will_be_removed_and_deletes(self, captionacc, line: Line, finished: VideoRow):
        result = captionacc("delete", "harbour.mp4", "--yes")
        assert result.code == 0
        assert "harbour.mp4" in result.notes and "its 3 captions" in result.notes
        assert "after 7 days (CAPTIONACC_DELETED_DAYS)" in result.notes
        assert result.output == f"Deleted harbour.mp4 ({finished.video_id[:8]}).\n"
        assert line.row(finished.video_id).deleted_at is not None
        assert line.catalog.list_videos() == []
        again = captionacc("delete", finished.video_id, "--yes")
        assert again.code == 0 and "was deleted on" in again.output
        assert "deleted" in captionacc("status", finished.video_id).output

    def test_the_run_of_a_deleted_video_is_ended(self, captionacc, line: Line, clip: Clip):
        video_id = line.upload(clip.path).video_id
        line.catalog.begin_stage(video_id, "layout", "run-1")
        result = captionacc("delete", video_id[:8], "--yes")
        assert result.code == 0 and "Its current run (layout) will be ended." in result.notes
        assert [row.run_id for row in line.catalog.pending_run_cancellations()] == ["run-1"]

    def test_a_shared_name_is_refused_with_the_candidates(self, captionacc, line: Line, clip: Clip):
        rows = [line.upload(clip.path) for _ in range(2)]
        result = captionacc("delete", "harbour.mp4", "--yes")
        assert result.code == 1 and "2 videos match 'harbour.mp4'" in result.notes
        assert all(row.video_id[:8] in result.notes for row in rows)
        assert len(line.catalog.list_videos()) == 2

    @pytest.mark.parametrize(
        ("answer", "is_gone"), [("y\n", True), ("n\n", False), ("\n", False), ("", False)]
    )
    def test_on_a_terminal_it_asks_for_confirmation(
        self, captionacc, line, clip, monkeypatch, answer: str, is_gone: bool
    ):
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        video_id = line.upload(clip.path).video_id
        monkeypatch.setattr(sys, "stdin", Terminal(answer))
        result = captionacc("delete", video_id)
        # The end of input is no answer.
        assert result.code == (0 if is_gone else 1 if answer else 130)
        assert "Delete it? [y/N]" in result.notes
        assert (line.row(video_id).deleted_at is not None) == is_gone

    def test_without_a_terminal_it_requires_yes(self, captionacc, line: Line, clip: Clip, monkeypatch):
        video_id = line.upload(clip.path).video_id
        monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
        result = captionacc("delete", video_id)
        assert result.code == 1 and "give `--yes`" in result.notes
        assert line.row(video_id).deleted_at is None
