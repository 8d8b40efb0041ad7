"""Fixtures that every part of the test suite shares.

A test that needs a part of the machine beside Python (a program such as ``npm``, root) is marked
``@pytest.mark.system("npm")``. If the part is missing, the test is skipped, and the summary lists it.
"""

import atexit
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# The time of an example depends more on the machine's other work than on the code.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")

# Idle threads of torch wait instead of spinning: two test processes share the cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Homes of tests must not appear in the register of this machine's user.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="captionacc-tests-state-")
atexit.register(shutil.rmtree, os.environ["XDG_STATE_HOME"], ignore_errors=True)

pytest_plugins = [
    "tests.catalog_fixtures",
    "tests.schema_fixtures",
    "tests.clip_fixtures",
    "tests.line_fixtures",
    "tests.snapshot_fixtures",
    "tests.storage_fixtures",
    "tests.faults.table",
    "tests.left_out",
    "pytester",
]


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    outcomes = sorted(
        value
        for status in ("passed", "failed")
        for report in terminalreporter.getreports(status)
        if report.when == "call"
        for name, value in report.user_properties
        if name == "outcome"
    )
    if outcomes:
        terminalreporter.section("shared footage: what came out")
        for outcome in outcomes:
            terminalreporter.write_line(outcome)


def pytest_configure() -> None:
    """Let Ctrl-C end programs that tests start, also where a shell runs the tests in the background.

    Such a shell has SIGINT ignored, programs inherit that, and Dagster copies it to SIGTERM.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The shared footage; only for tests marked ``data``."""
    from tests.left_out import DATA_DIR  # A plugin: pytest has to import it first.

    return DATA_DIR


@pytest.fixture(autouse=True)
def signals_as_they_were() -> Iterator[None]:
    """Restore the handlers: programs of later tests would inherit an ignored signal, and never end."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        if signal.getsignal(number) != handler:
            signal.signal(number, handler)
