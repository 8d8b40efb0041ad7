"""A full disk is reported as such, with its folder, by whichever part of the platform meets it first."""

import errno
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
import sqlalchemy

from captionacc_dagster.platform import disk
from captionacc_dagster.platform.disk import Place, disk_places, little_space, refuse_full_disk
from captionacc_dagster.resources.catalog.embedded_postgres import EmbeddedPostgres
from captionacc_dagster.resources.catalog.postgres_errors import translated
from captionacc_dagster.settings import Settings
from modal_gpu.disk_full import disk_full
from modal_gpu.errors import DiskFullError, StorageError
from modal_gpu.storage import ObjectStore
from tests.cli.conftest import Captionacc
from tests.clip_fixtures import Clip
from tests.line_fixtures import Line


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m,mode=755", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.system("a small disk")
def test_the_bucket_reports_it_and_keeps_its_contents(small_disk: Path):
    store = ObjectStore.from_url(small_disk.as_uri())
    store.put("kept", b"kept")
    with pytest.raises(DiskFullError) as error:
        store.put("video", bytes(14_000_000))
    assert str(error.value) == (
        f"the disk is full: cannot write 'video' in folder {small_disk}; make room, then try again"
    )
    assert isinstance(error.value, StorageError) and not error.value.retryable
    assert store.get("kept") == b"kept" and not store.exists("video")


@pytest.mark.system("a small disk")
def test_postgresql_without_space_reports_it_in_one_line(small_disk: Path):
    with pytest.raises(DiskFullError) as error:
        EmbeddedPostgres(small_disk / "home", settings={"fsync": "off"}).ensure_running()
    assert str(error.value) == (
        f"the disk is full: PostgreSQL cannot start in {small_disk}/home/postgres; make room, or move "
        "CAPTIONACC_HOME"
    )


@pytest.mark.system("a small disk")
def test_ingest_stops_before_it_uploads_anything(
    captionacc: Captionacc, line: Line, clip: Clip, small_disk, monkeypatch
):
    monkeypatch.setenv("CAPTIONACC_HOME", str(small_disk / "home"))
    warned = captionacc("ingest", "--no-wait", clip.path)
    assert warned.code == 0
    assert f"warning: little space is left on the disk (0.0 GB in {small_disk}/home" in warned.errors
    (small_disk / "film").write_bytes(bytes(9_000_000))
    result = captionacc("ingest", clip.path)
    assert result.code == 1
    assert (
        f"error: the disk is full: 4 MB left for {small_disk}/home; make room, then try again" in result.text
    )
    assert len(line.catalog.list_videos()) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
def test_a_file_that_cannot_be_written_completely_is_removed(captionacc: Captionacc, finished):
    result = captionacc("export", finished.video_id, "--format", "srt", "-o", "/dev/full")
    assert result.code == 1 and "error: the disk is full: " in result.text


def _full_sqlite() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("pragma max_page_count = 2")
        connection.execute("create table t (x)")
        connection.execute("insert into t values (zeroblob(100000))")


def _full_sqlite_of_dagster() -> None:
    with sqlalchemy.create_engine("sqlite://").connect() as connection:
        connection.exec_driver_sql("pragma max_page_count = 2")
        connection.exec_driver_sql("create table t (x)")
        connection.exec_driver_sql("insert into t values (zeroblob(100000))")


def _full_postgresql() -> None:
    raise psycopg.errors.DiskFull(
        "could not extend file: No space left on device\nHINT: Check free disk space."
    )


def _wrapped() -> None:
    try:
        raise OSError(errno.EDQUOT, "Disk quota exceeded", "/home/me/frames")
    except OSError as error:
        raise RuntimeError("the frames cannot be kept") from error


@pytest.mark.parametrize(
    ("meet", "result"),
    [
        (_full_sqlite, "the disk is full: /home: make room, then try again"),
        (_full_sqlite_of_dagster, "the disk is full: /home: make room, then try again"),
        (_full_postgresql, "the disk of the database is full: make room, then try again"),
        (_wrapped, "the disk is full: /home/me/frames: make room, then try again"),
    ],
)
def test_each_library_s_error_is_understood(meet: Callable[[], None], result: str):
    with pytest.raises(Exception) as error:
        meet()
    assert str(disk_full(error.value, "/home")) == result


@pytest.mark.parametrize(
    "error", [OSError(errno.EACCES, "Permission denied"), sqlite3.OperationalError("locked"), ValueError()]
)
def test_other_errors_are_other_errors(error: Exception):
    assert disk_full(error) is None


def test_a_catalogue_with_a_full_disk_is_not_reported_as_down():
    full = psycopg.errors.DiskFull('could not extend file "base/1": No space left on device\nHINT: Check it.')
    assert str(translated(full, {})) == (
        "the disk of the database is full: make room, then try again (the catalogue's PostgreSQL: could not "
        'extend file "base/1": No space left on device)'
    )


def test_each_disk_that_is_written_to_is_checked_once(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("CAPTIONACC_HOME", str(tmp_path / "not" / "there"))
    monkeypatch.setenv("CAPTIONACC_STORAGE_URL", "file:///dev/shm/bucket")
    monkeypatch.setattr(disk.tempfile, "gettempdir", lambda: str(tmp_path))
    places = disk_places(Settings(_env_file=None))
    assert [place.folder for place in places][:1] == [tmp_path / "not" / "there"]
    assert len(places) in (1, 2) and all(place.free >= 0 for place in places)
    assert not (tmp_path / "not").exists()


@pytest.mark.parametrize(
    ("free", "needed", "warns", "refuses"),
    [(5_000_000_000, 0, False, False), (5_000_000_000, 4_000_000_000, True, False),
     (1_900_000_000, 0, True, False), (7_000_000, 0, True, True)],
)  # fmt: skip
def test_little_space_is_a_warning_and_no_space_is_refused(
    free: int, needed: int, warns: bool, refuses: bool
):
    places = [Place(Path("/home/a"), free)]
    assert (little_space(places, needed) is not None) is warns
    if refuses:
        with pytest.raises(DiskFullError, match="7 MB left for /home/a"):
            refuse_full_disk(places)
    else:
        refuse_full_disk(places)
