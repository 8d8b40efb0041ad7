"""The fuzzer finds the faults it looks for, reproduces its files, and a few of its files cause no failure."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from modal_gpu.errors import BadVideoError
from tests.fuzz import stages
from tests.fuzz.__main__ import main
from tests.fuzz.media_files import KINDS, media_file
from tests.fuzz.stages import Case
from tests.fuzz.workers import MEMORY_BYTES, outcomes
from tests.modal_gpu.databases.test_damaged_databases import loose

REPOSITORY = Path(__file__).parents[2]


def test_a_few_damaged_files_end_well(tmp_path: Path):
    """`make fuzz` reads thousands. A separate process, as one with threads must not be forked to decode."""
    few = ["--media", "40", "--databases", "80", "--workers", "1", "--keep", str(tmp_path / "kept")]
    command = [sys.executable, "-m", "tests.fuzz", *few]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("name", KINDS)
def test_the_undamaged_file_of_each_kind_is_read_completely(name: str):
    assert stages._media(media_file(name), number=1) in ("20 indices", "10 indices")


def test_a_case_is_the_same_file_every_time():
    def files(seed: int, what: str) -> list[tuple[str, bytes]]:
        return [Case(seed, what, number).file() for number in range(20)]

    first = files(7, "media")
    media_file.cache_clear()
    assert first == files(7, "media") != files(8, "media")
    first = files(7, "database")
    loose.cache_clear()
    time.sleep(1.1 - time.time() % 1)  # files are dated to the second
    assert first == files(7, "database") != files(8, "database")


def _raise(error: Exception) -> None:
    raise error


FAULTS = {
    "foreign": lambda: _raise(IndexError("list index out of range")),
    "disagree": lambda: _raise(stages.StagesDisagreeError("160 crops of 80 indices")),
    "crash": os.abort,
    "slow": lambda: time.sleep(60),
    "memory": lambda: np.ones(2 * MEMORY_BYTES, np.uint8),
    "error": lambda: _raise(BadVideoError("one line")),
    "right": lambda: "20 indices",
}


@pytest.mark.parametrize("verdict", FAULTS)
def test_each_end_has_its_verdict(monkeypatch: pytest.MonkeyPatch, verdict: str):
    """One of two cases ends this way; the worker, or a new one, continues with the other."""
    monkeypatch.setattr(stages, "_media", lambda data, number: "20 indices" if number else FAULTS[verdict]())
    found = {
        case.number: outcome for case, outcome, _ in outcomes([Case(1, "media", n) for n in (0, 1)], 1, 3)
    }
    assert (found[0].verdict, found[1].verdict) == (verdict, "right")


def test_two_lines_are_not_a_clear_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stages, "_media", lambda data, number: _raise(BadVideoError("two\nlines")))
    assert stages.run(Case(1, "media", 0)).verdict == "foreign"


def test_failing_cases_are_kept_and_fail_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(stages, "_media", lambda data, number: FAULTS["foreign"]())
    assert main(["--seed", "3", "--case", "media-312", "--workers", "1", "--keep", str(tmp_path)]) == 1
    assert (tmp_path / "3-media-312").read_bytes() == Case(3, "media", 312).file()[1]
    assert 'make fuzz FUZZ_ARGS="--seed 3 --case media-312"' in capsys.readouterr().out
