"""``captionacc compare``: a video's captions with a file and with another video: report and exit codes."""

import csv
from pathlib import Path

import pytest

from captionacc_dagster.resources.catalog import VideoRow
from modal_gpu.databases.captions import read_captions, write_captions
from modal_gpu.frame_index import CHUNK_MEMBERS, chunks
from tests.adoption import old_databases as old
from tests.adoption.conftest import world  # noqa: F401
from tests.adoption.old_world import OldWorld
from tests.cli.conftest import Captionacc
from tests.cli.documented_json import as_documented
from tests.line_fixtures import Line

#: The clip's captions as a person wrote them down; the second one is 0.4 s late.
FILE = """1
00:00:00,840 --> 00:00:02,600
Every evening the harbour falls silent.

2
00:00:03,000 --> 00:00:04,440
Only the gulls are still awake.

3
00:00:05,080 --> 00:00:07,360
Far out, the last boat turns for home
and follows the light to the shire.
"""


@pytest.fixture
def srt(tmp_path: Path) -> Path:
    path = tmp_path / "by hand.srt"
    path.write_text(FILE)
    return path


def test_a_file_is_compared_and_the_exit_code_says_whether_limits_are_met(
    captionacc: Captionacc, finished: VideoRow, srt: Path
):
    result = captionacc("compare", finished.video_id, "--with", srt)
    assert result.code == 4, result.text
    assert "0:00:02.600: times differ: 'Only the gulls" in result.text
    assert "0:00:05.080: text differs" in result.text
    assert "Beyond the limit: times, texts." in result.text
    loose = captionacc(
        *("compare", finished.video_id, "--with", srt),
        *("--limit", "times=0.5", "--limit", "texts=0.5", "--limit", "characters=0.05"),
    )
    assert loose.code == 0 and "All limits are met." in loose.text
    one = captionacc("compare", finished.video_id, "--with", srt, "--json", "--limit", "times=0.5")
    (video,) = as_documented("compare", one.output)["videos"]
    assert not video["met"]
    other = captionacc(
        *("compare", finished.video_id, "--with", srt, "--json"),
        *("--limit", "times=0.5", "--limit", "texts=0.5", "--limit", "characters=0.05"),
    )
    (video,) = as_documented("compare", other.output)["videos"]
    assert video["met"], "by the limits that were given"
    late = captionacc("compare", finished.video_id, "--with", srt, "--tolerance", 0.5, "--limit", "texts=1")
    assert late.code == 0 and "times differ:" not in late.text


def test_what_a_video_exports_is_the_same(captionacc: Captionacc, finished: VideoRow, tmp_path: Path):
    for ending in ("srt", "vtt", "ass"):
        file = tmp_path / f"talk.{ending}"
        assert captionacc("export", finished.video_id, "-o", file).code == 0
        result = captionacc("compare", finished.video_id, "--with", file)
        assert result.code == 0, result.text
        assert "Starts differ by 0 ms in the median" in result.text or ending == "ass"


def test_the_report_has_pictures_of_both_sides(
    captionacc: Captionacc, finished: VideoRow, srt: Path, tmp_path: Path
):
    folder = tmp_path / "deep" / "report"
    result = captionacc("compare", finished.video_id, "--with", srt, "--report", folder)
    assert result.code == 4 and f"Wrote {folder}/comparison.csv" in result.text
    rows = list(csv.DictReader((folder / "comparison.csv").open(newline="")))
    assert [row["kind"] for row in rows] == ["times differ", "text differs"]
    page = (folder / "comparison.html").read_text()
    # The file has no frames of its own.
    assert page.count("data:image/webp") == 2 and page.count("no picture") == 2
    again = captionacc("compare", finished.video_id, "--with", srt, "--report", folder)
    assert again.code == 1 and "exists already and was kept" in again.text
    assert captionacc("compare", finished.video_id, "--with", srt, "--report", folder, "--force").code == 4


def test_a_second_video_is_compared_in_all_parts(
    captionacc: Captionacc, finished: VideoRow, line: Line, make_file
):
    result = captionacc("compare", finished.video_id, "--with", finished.video_id, "--json")
    assert result.code == 0
    found = as_documented("compare", result.output)
    checks = {check["limit"]: check for check in found["checks"]}
    assert found["met"] and not found["differences"]
    assert found["videos"][0]["kinds"] == {"same": 3}
    assert checks["boxes"]["of"] > 0 and checks["texts"]["of"] == 3 and checks["frames"]["count"] == 0
    empty = line.upload(make_file("empty.mp4"))
    missing = captionacc("compare", empty.video_id, "--with", finished.video_id)
    assert missing.code == 4 and "only one side has captions: new has none" in missing.text
    assert f"`captionacc status {empty.short_id}` shows why" in missing.text
    assert "Beyond the limit: uncompared." in missing.text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name a video, or all of a tenant"),
        (("a.mp4", "--tenant", "acme"), "name a video, or all of a tenant"),
        (("--tenant", "acme", "--with", "a.srt"), "`--with` is the other side of one video"),
        (("a.mp4", "--with", "a.srt", "--limit", "lots=1"), "'lots=1' is no limit"),
        (("a.mp4", "--with", "a.srt", "--tolerance", "nan"), "'nan' is not a number"),
    ],
)
def test_a_wrong_command_line_is_explained(captionacc: Captionacc, arguments: tuple[str, ...], said: str):
    result = captionacc("compare", *arguments)
    assert result.code == 2 and said in result.text


def test_a_file_that_is_none_is_an_error_and_no_difference(
    captionacc: Captionacc, finished: VideoRow, tmp_path: Path
):
    gone = captionacc("compare", finished.video_id, "--with", tmp_path / "gone.srt")
    assert gone.code == 1 and "gone.srt" in gone.text
    (tmp_path / "none.srt").write_text("no times here")
    assert captionacc("compare", finished.video_id, "--with", tmp_path / "none.srt").code == 1


@pytest.fixture
def predecessors(finished: VideoRow, line: Line, world: OldWorld, monkeypatch) -> VideoRow:  # noqa: F811
    """The same video in the predecessor: one other text, and chunks without the levels' tails."""
    world.tenant("local", tenant_id=finished.tenant_id)
    media, keys = finished.media(), line.keys(finished.video_id)
    folder = world.video(
        *(finished.tenant_id, "harbour.mp4"),
        id=finished.video_id,
        duration_seconds=media.duration_seconds,
        width=media.width,
        height=media.height,
        layout_status="done",
        current_cropped_frames_version=1,
    )
    rows = [
        {
            "id": caption.id,
            "start_frame_index": caption.start_index,
            "end_frame_index": caption.end_index - 1,
            "caption_ocr": (caption.ocr_text or "").replace("gulls", "<b>gu11s</b>"),
            "caption_ocr_status": "completed",
        }
        for caption in read_captions(line.store.get(keys.captions_db))
    ]
    folder.client("captions.db.gz", old.database(old.CAPTIONS, captions=rows))
    for ref in chunks(media.frame_count):
        if len(ref.members(media.frame_count)) == CHUNK_MEMBERS:
            name = f"cropped_frames_v1/modulo_{ref.level}/chunk_{ref.first_index:010d}.webm"
            folder.without_client(name, line.store.get(keys.chunk(1, ref)))
    for name, value in world.environment.items():
        monkeypatch.setenv(name, value)
    return finished


def test_the_predecessors_results_are_compared_with_those_here(
    captionacc: Captionacc, predecessors: VideoRow, line: Line, tmp_path: Path
):
    folder = tmp_path / "report"
    result = captionacc("compare", predecessors.video_id, "--report", folder)
    assert result.code == 4, result.text
    assert "text differs: 'Only the <b>gu11s</b> are still awake.'" in result.text
    assert "Beyond the limit: texts, characters." in result.text
    page = (folder / "comparison.html").read_text()
    assert page.count("data:image/webp") == 2 and "<b>" not in page and "&lt;b&gt;" in page

    whole = captionacc("compare", "--tenant", predecessors.tenant_id, "--json", "--limit", "texts=0.5")
    found = as_documented("compare", whole.output)
    assert [check["limit"] for check in found["checks"] if not check["met"]] == ["characters"]
    assert whole.code == 4 and found["videos"][0]["kinds"] == {"same": 2, "text differs": 1}

    key = line.keys(predecessors.video_id).captions_db
    line.store.put(key, write_captions(read_captions(line.store.get(key))[1:]))
    lost = captionacc("compare", "--tenant", predecessors.tenant_id)
    assert "only old: 'Every evening the harbour falls silent.'" in lost.text and "lost" in lost.text


def test_without_the_predecessors_address_it_is_asked_for(captionacc: Captionacc, finished: VideoRow):
    result = captionacc("compare", finished.video_id)
    assert result.code == 1 and "CAPTIONACC_ADOPT_DATABASE_URL" in result.text
