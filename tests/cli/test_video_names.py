"""Names of videos in commands: which video a name or the start of an id means, and ``rename``."""

import pytest

from captionacc_dagster.resources.catalog import VideoRow
from tests.cli.conftest import Captionacc
from tests.clip_fixtures import Clip
from tests.line_fixtures import Line

UNKNOWN = "11111111-1111-4111-8111-111111111111"
OTHER_TENANT = "22222222-2222-4222-8222-222222222222"


class TestNames:
    COMMANDS = (
        *(("status",), ("captions",), ("export",), ("retry",)),
        *(("layout", "show"), ("layout", "approve"), ("rename",)),
    )

    @pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
    def test_a_shared_name_means_the_newest_video_and_prints_a_note(
        self, captionacc: Captionacc, line: Line, finished: VideoRow, make_file, command
    ):
        """``finished`` is the newest, so that each command has something to do."""
        older = line.upload(make_file("harbour.mp4"))
        with line.catalog.transport.connection() as connection:
            connection.execute(
                "update captionacc.videos set created_at = created_at - interval '1 day' where id = %s",
                [older.video_id],
            )
        rest = ("new.mp4",) if command == ("rename",) else ()
        result = captionacc(*command, "harbour.mp4", *rest)
        assert result.code == 0
        assert "2 videos are named harbour.mp4; using the newest, " + finished.video_id[:8] in result.notes
        assert len(result.notes.splitlines()) == 1
        for exact in (finished.video_id, finished.video_id[:8]):
            result = captionacc(*command, exact, *rest)
            assert result.code == 0 and result.notes == ""
        assert line.row(older.video_id).display_path == "harbour.mp4"

    def test_the_start_of_several_ids_is_refused_with_the_candidates(self, captionacc, line: Line):
        ids = [f"abcdef00-0000-4000-8000-00000000000{number}" for number in range(3)]
        for video_id in ids:
            line.catalog.register_video(line.tenant_id, video_id, f"{line.tenant_id}/{video_id}", 1, "a.mp4")
        result = captionacc("status", "abcdef00")
        assert result.code == 1
        assert "3 videos match 'abcdef00'" in result.notes and "give one of these ids" in result.notes
        assert all(video_id in result.notes for video_id in ids)

    def test_a_name_that_several_tenants_use_is_refused(self, captionacc, line: Line, clip: Clip):
        line.upload(clip.path)
        line.catalog.ensure_tenant(OTHER_TENANT, "other")
        line.catalog.register_video(OTHER_TENANT, UNKNOWN, f"{OTHER_TENANT}/a", 1, "harbour.mp4")
        result = captionacc("retry", "harbour.mp4")
        assert (
            result.code == 1
            and "2 videos match 'harbour.mp4'" in result.notes
            and UNKNOWN[:8] in result.notes
        )

    def test_a_name_that_looks_like_an_id_is_found_as_a_name(self, captionacc, line: Line):
        video_id = "abcdef00-0000-4000-8000-000000000000"
        line.catalog.register_video(line.tenant_id, video_id, f"{line.tenant_id}/a", 1, UNKNOWN)
        assert video_id in captionacc("status", UNKNOWN).output


class TestRename:
    def test_a_video_is_found_by_its_new_name_only(self, captionacc, line: Line, finished: VideoRow):
        result = captionacc("rename", "harbour.mp4", "  The\nharbour ")
        assert result.code == 0
        assert result.output == f"harbour.mp4 ({finished.video_id[:8]}) is now named   The\ufffdharbour .\n"
        assert captionacc("status", "harbour.mp4").code == 1
        assert "Only the gulls" in captionacc("captions", "  The\nharbour ").output
        assert line.row(finished.video_id).storage_key == finished.storage_key

    @pytest.mark.parametrize("name", ["", "   ", "x" * 2000])
    def test_an_empty_name_is_refused(self, captionacc, line: Line, finished: VideoRow, name: str):
        result = captionacc("rename", finished.video_id, name)
        assert result.code == 1 and "name" in result.notes and len(result.notes.splitlines()) == 1
        assert line.row(finished.video_id).display_path == "harbour.mp4"
