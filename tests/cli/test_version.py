"""``captionacc --version``: one source for the number, and an answer without loading the platform."""

import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path

from captionacc_dagster import __version__
from tests.cli.conftest import Captionacc

REPOSITORY = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
#: Packages with a noticeable import time, and the package of the commands.
HEAVY = (
    "captionacc_dagster.cli",
    "captionacc_dagster.settings",
    "dagster",
    "numpy",
    "pydantic",
    "rich",
    "typer",
)


def test_the_version_is_printed_without_importing_the_platform():
    program = (
        "import sys\n"
        "from captionacc_dagster.__main__ import main\n"
        "sys.argv = ['captionacc', '--version']\n"
        "main()\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=REPOSITORY, check=True
    )
    assert done.stdout.splitlines() == [f"captionacc {__version__}", "[]"]


def test_the_package_runs_as_a_module():
    command = [sys.executable, "-m", "captionacc_dagster", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert done.stdout == f"captionacc {__version__}\n"


def test_the_option_is_in_the_help_and_works_beside_other_arguments(captionacc: Captionacc):
    assert "--version" in captionacc("--help").text
    assert captionacc("--version", "status").output == f"captionacc {__version__}\n"


def test_the_entry_point_is_the_fast_one():
    assert PROJECT["project"]["scripts"]["captionacc"] == "captionacc_dagster.__main__:main"


def test_the_build_takes_its_version_from_the_package():
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert PROJECT["tool"]["hatch"]["version"]["path"] == "captionacc_dagster/__init__.py"


def test_the_installed_package_has_the_same_version():
    assert importlib.metadata.version("captionacc-dagster") == __version__
