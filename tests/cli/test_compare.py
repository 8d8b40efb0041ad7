"""``captionacc compare``: a video's captions with a file and with another video: report and exit codes."""

import csv
from pathlib import Path

import pytest

from captionacc_dagster.resources.catalog import VideoRow
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
