"""Commands that read create no home and say where one is; commands that write say which one they use."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from captionacc_dagster import cli as command_line
from captionacc_dagster.platform.homes import known_homes, make_home, require_home
from tests.all_commands import load_all
from tests.cli.conftest import Captionacc
from tests.clip_fixtures import Clip

#: Every command, with arguments that refer to earlier results; none of them may create a home.
MAKE_NONE = {
    "backfill": ["--list"],
    "backfill --apply": ["--apply"],
    "captions VIDEO": ["a.mp4"],
    "captions confirm": ["a.mp4", "--all"],
    "captions merge": ["a.mp4", "1", "2"],
    "captions set": ["a.mp4", "1", "--text", "x"],
    "captions shift": ["a.mp4", "--by", "0.5", "--all"],
    "captions show": ["a.mp4"],
    "captions split": ["a.mp4", "1", "--at", "2"],
    "compare": ["a.mp4"],
    "cost": [],
    "cost limit": [],
    "cost limit --month-usd": ["--month-usd", "5"],
    "delete": ["a.mp4", "--yes"],
    "export": ["a.mp4"],
    "infer": ["a.mp4"],
    "layout add-zone": ["a.mp4", "--left=0", "--top=0", "--right=1", "--bottom=0.2"],
    "layout approve": ["a.mp4"],
    "layout move-zone": ["a.mp4", "1", "--left=0", "--top=0", "--right=1", "--bottom=0.2"],
    "layout remove-zone": ["a.mp4", "1"],
    "layout set": ["a.mp4", "--left=0", "--top=0.7", "--right=1", "--bottom=1"],
    "layout show": ["a.mp4"],
    "listen": [],
    "metrics": [],
    "ocr default": ["ko"],
    "ocr set": ["a.mp4", "ko"],
    "rename": ["a.mp4", "b.mp4"],
    "retry": ["a.mp4"],
    "serve": [],
    "status": [],
    "status VIDEO": ["a.mp4"],
    "stop": [],
    "trim": [],
    "upkeep": [],
    "upkeep --apply": ["--apply"],
    "webhook": [],
}
#: Commands that work without a home, and create none either.
NEED_NONE = {
    "cost compare": ["--minutes", "5"],
    "cost estimate": ["--minutes", "5"],
    "doctor": [],
    "model list": [],
    "model verify": [],
    "ocr list": [],
}
#: Commands that create one.
MAKE = {
    "adopt",
    "demo",
    "ingest",
    "migrate",
    "model import-wandb",
    "model upload",
    "ocr install",
    "prepare",
    "up",
    "watch",
}
#: Commands that look at a file first, with tests of their own.
FILES = {"extract", "import"}


def _all_commands() -> set[str]:
    group = typer.main.get_command(load_all())
    names = set()
    for name, command in group.commands.items():
        inner = getattr(command, "commands", None)
        names |= {f"{name} {one}" for one in inner} if inner else {name}
        if inner and command.invoke_without_command:
            names.add(name)
    return names


@pytest.fixture
def nowhere(captionacc: Captionacc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Captionacc:
    """The command line in a folder without a home, with everything embedded."""
    for name in ("CAPTIONACC_HOME", "CAPTIONACC_DATABASE_URL", "CAPTIONACC_STORAGE_URL"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("CAPTIONACC_WEBHOOK_SECRET", "a secret of the tests")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = tmp_path / "videos" / "new"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return captionacc


def test_every_command_has_a_case_here():
    without_options = {
        name
        for name in MAKE_NONE
        if not any(word.startswith("--") or word.isupper() for word in name.split())
    }
    assert _all_commands() == without_options | set(NEED_NONE) | MAKE | FILES
    assert command_line.main is not None


@pytest.mark.parametrize("name", MAKE_NONE)
def test_a_command_without_a_home_creates_none_and_names_the_missing_one(nowhere: Captionacc, name: str):
    words = [word for word in name.split() if not word.startswith("--") and not word.isupper()]
    result = nowhere(*words, *MAKE_NONE[name])
    assert result.code == 1
    assert f"error: there is no home at {Path.cwd() / '.captionacc'}" in result.text
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize("name", NEED_NONE)
def test_commands_that_need_no_home_create_none(nowhere: Captionacc, name: str):
    result = nowhere(*name.split(), *NEED_NONE[name])
    assert result.code == 0, result.text
    assert list(Path.cwd().iterdir()) == []


def test_the_doctor_reports_that_there_is_no_home(nowhere: Captionacc):
    text = nowhere("doctor").text
    assert text.count("there is no home yet; `captionacc ingest FILE` creates one") == 2
    assert "✗" not in text


def test_homes_in_parent_folders_and_known_homes_are_named(nowhere: Captionacc, tmp_path: Path):
    above, made, gone = (tmp_path / name for name in ("videos/.captionacc", "films/.captionacc", "gone"))
    for home in (above, made, gone):
        make_home(home)
    for home in (above, made):
        (home / "dagster").mkdir()
        (home / "dagster" / "dagster.yaml").touch()
    result = nowhere("status")
    assert result.code == 1
    assert f"Known: {above}, {made}; work from there, or set CAPTIONACC_HOME to it." in result.text
    assert f"(known: {above}, {made})" in nowhere("doctor").text


def test_a_folder_without_the_expected_parts_is_not_a_home(nowhere: Captionacc, tmp_path: Path):
    """This happens when a database URL was omitted."""
    home = Path.cwd() / ".captionacc"
    (home / "bucket").mkdir(parents=True)
    result = nowhere("status")
    assert result.code == 1 and f"there is no postgres in the home {home}" in result.text
    assert [entry.name for entry in home.iterdir()] == ["bucket"]


@pytest.mark.parametrize(
    ("arguments", "is_named"),
    [
        (["ingest", "--no-wait", "{clip}"], True),
        (["retry", "{video}"], True),
        (["layout", "approve", "{video}"], True),
        (["cost", "limit", "--month-usd", "5"], True),
        (["backfill", "--apply"], True),
        (["migrate"], True),
        (["status"], False),
        (["captions", "{video}"], False),
        (["layout", "show", "{video}"], False),
        (["cost"], False),
        (["cost", "limit"], False),
        (["backfill"], False),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_that_writes_names_its_home(
    captionacc: Captionacc, finished, clip: Clip, tmp_path: Path, arguments: list[str], is_named: bool
):
    given = [word.format(clip=clip.path, video=finished.video_id) for word in arguments]
    result = captionacc(*given)
    assert result.code == 0, result.text
    named = f"Home: {tmp_path / 'home'} (catalogue from CAPTIONACC_DATABASE_URL, bucket file://"
    assert (named in result.errors) is is_named
    assert "Home:" not in result.output


class TestPrivacy:
    """The contents of a home are readable by its owner only."""

    def test_a_new_home_and_its_files_are_private(self, captionacc, clip: Clip, tmp_path, monkeypatch):
        former = os.umask(0o022)
        try:
            monkeypatch.delenv("CAPTIONACC_STORAGE_URL")
            assert captionacc("ingest", "--no-wait", clip.path).code == 0
        finally:
            os.umask(former)
        home = tmp_path / "home"
        assert {name: _mode(home / name) for name in (".", "bucket")} == {".": 0o700, "bucket": 0o700}

    @pytest.mark.parametrize(
        ("make", "mode"),
        [
            (lambda home: (home / "bucket").mkdir(), 0o700),
            (lambda home: None, 0o700),
            (lambda home: (home / "thesis.txt").touch(), 0o755),
        ],
        ids=["ours", "empty", "not only ours"],
    )
    def test_a_home_of_an_earlier_version_becomes_private(self, tmp_path: Path, make: Callable, mode: int):
        home = tmp_path / "home"
        home.mkdir()
        home.chmod(0o755)
        make(home)
        make_home(home)
        assert _mode(home) == mode


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_register_keeps_the_newest_homes_and_any_name(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    homes = [tmp_path / name for name in ("one", "two words", "фильмы", os.fsdecode(b"\xff"))]
    for home in [*homes, homes[0]]:
        make_home(home)
        (home / "bucket").mkdir(exist_ok=True)
    assert known_homes(tmp_path / "other") == [homes[0], homes[3], homes[2], homes[1]]
    require_home(homes[0])


@pytest.mark.parametrize("state", ["file", "missing HOME"])
def test_an_unwritable_register_is_not_an_error(tmp_path: Path, monkeypatch, state: str):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file") if state == "file" else "")
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    make_home(tmp_path / "home")
    assert known_homes(tmp_path / "other") == []
