"""``captionacc adopt``: the report as a table and as JSON, what it does, and the way back."""

import gzip
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from captionacc_dagster.platform.role_lock import RoleLock
from tests.adoption import old_videos
from tests.adoption.old_world import OldWorld
from tests.cli.conftest import Captionacc
from tests.cli.documented_json import as_documented


@pytest.fixture
def world(empty_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OldWorld]:
    world = OldWorld(empty_dsn, tmp_path / "old-bucket")
    for name, value in world.environment.items():
        monkeypatch.setenv(name, value)
    yield world
    world.close()


def test_the_report_is_a_table_with_counts_and_costs(captionacc: Captionacc, world: OldWorld):
    tenant = world.tenant("Acme")
    old_videos.captions_edited(world, tenant, "edited.mp4")
    old_videos.tails_lost(world, tenant, "tails.mp4")
    old_videos.upload_missing(world, tenant, "missing.mp4")
    result = captionacc("adopt")
    assert result.code == 0
    lines = {
        name: next(line for line in result.output.splitlines() if name in line)
        for name in ("edited.mp4", "tails.mp4", "missing.mp4")
    }
    assert "converted" in lines["edited.mp4"]
    assert "made again by a run" in lines["tails.mp4"] and "$0." in lines["tails.mp4"]
    assert "24 of its 184 cropped frames are in no chunk" in lines["tails.mp4"]
    assert "refused" in lines["missing.mp4"] and "not in the bucket" in lines["missing.mp4"]
    assert (
        "3 videos: 1 converted, 1 made again by a run, 1 refused. 12 edits of people are kept." in result.text
    )
    assert "Nothing was changed" in result.text


def test_it_adopts_one_video_then_the_tenant_and_says_so_in_json(captionacc: Captionacc, world: OldWorld):
    tenant = world.tenant("Acme")
    made = old_videos.captions_edited(world, tenant, "edited.mp4")
    old_videos.waiting(world, tenant, "waiting.mp4")
    captionacc("migrate")
    one = as_documented(
        "adopt", captionacc("adopt", "--video", made.video_id[:8], "--apply", "--json").output
    )
    assert (one["applied"], one["states"], one["verdicts"]) == (True, {"adopted": 1}, {"converted": 1})
    assert one["videos"][0]["edits"] == {"captions": 5, "labels": 0, "approved": True, "reviewed": []}
    both = as_documented("adopt", captionacc("adopt", "--tenant", "Acme", "--apply", "--json").output)
    assert both["states"] == {"unchanged": 1, "adopted": 1}
    assert "edited.mp4" in captionacc("status").output


def test_the_way_back(captionacc: Captionacc, world: OldWorld, tmp_path: Path):
    made = old_videos.captions_edited(world, world.tenant("Acme"), "edited.mp4")
    captionacc("adopt", "--apply")
    folder = tmp_path / "back"
    result = as_documented(
        "adopt --export",
        captionacc("adopt", "--export", folder, "--video", "edited.mp4", "--json").output,
    )
    prefix = f"{made.folder.tenant_id}/client/videos/{made.video_id}"
    assert result["files"] == [f"{prefix}/captions.db.gz", f"{prefix}/layout.db.gz"]
    plain = tmp_path / "captions.db"
    plain.write_bytes(gzip.decompress((folder / prefix / "captions.db.gz").read_bytes()))
    with sqlite3.connect(plain) as connection:
        rows = connection.execute(
            "select start_frame_index, end_frame_index, text from captions where text is not null order by 1"
        ).fetchall()
    assert rows == [(50, 87, "Hello, world"), (100, 100, "")]


@pytest.mark.parametrize(
    ("arguments", "variable", "words"),
    [
        ((), "CAPTIONACC_ADOPT_DATABASE_URL", "set CAPTIONACC_ADOPT_DATABASE_URL"),
        ((), "CAPTIONACC_ADOPT_STORAGE_URL", "set CAPTIONACC_ADOPT_STORAGE_URL"),
        (("--tenant", "Globex"), "", "no tenants of the predecessor match 'Globex'"),
        (("--video", "nothing.mp4"), "", "no videos of the predecessor match 'nothing.mp4'"),
    ],
)
def test_what_is_missing_is_one_sentence(
    captionacc: Captionacc, world: OldWorld, monkeypatch, arguments, variable: str, words: str
):
    if variable:
        monkeypatch.delenv(variable)
    result = captionacc("adopt", *arguments)
    assert result.code == 1
    assert words in result.text


def test_rows_that_row_level_security_hides_are_explained(
    captionacc: Captionacc, world: OldWorld, monkeypatch
):
    old_videos.waiting(world, world.tenant("Acme"), "a.mp4")
    with world.connection() as connection:
        connection.execute("alter role adopt_reader nobypassrls")
    try:
        assert "give the role BYPASSRLS" in captionacc("adopt").text
    finally:
        with world.connection() as connection:
            connection.execute("alter role adopt_reader bypassrls")


def test_two_adoptions_at_a_time_are_refused(captionacc: Captionacc, world: OldWorld, tmp_path: Path):
    old_videos.waiting(world, world.tenant("Acme"), "a.mp4")
    lock = RoleLock(tmp_path / "home" / "dagster" / "services" / "adopt.lock")
    assert lock.take()
    try:
        result = captionacc("adopt", "--apply")
    finally:
        lock.release()
    assert result.code == 1
    assert "adopts videos already" in result.text


def test_export_takes_no_apply(captionacc: Captionacc, world: OldWorld, tmp_path: Path):
    assert captionacc("adopt", "--export", tmp_path, "--apply").code == 2
