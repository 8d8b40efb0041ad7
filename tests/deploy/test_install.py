"""``deploy/install.py``: a fallback is taken with its reason in view."""

import runpy
import sys
from pathlib import Path

import pytest

INSTALL = runpy.run_path(str(Path(__file__).resolve().parents[2] / "deploy" / "install.py"))


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import sys; sys.exit('first\\nno such file')", "no such file"),
        ("raise SystemExit(3)", "exit status 3"),
    ],
)
def test_a_failed_attempt_prints_why(capfd, program, reason):
    assert INSTALL["_attempt"]([sys.executable, "-c", program]) is False
    assert f"failed ({reason}); falling back" in capfd.readouterr().out


def test_an_attempt_that_succeeds_prints_nothing(capfd):
    assert INSTALL["_attempt"]([sys.executable, "-c", "print('noise')"]) is True
    assert capfd.readouterr().out == ""
