"""Fixtures that every part of the test-suite shares."""

import os
from pathlib import Path

import hypothesis
import pytest

# How long an example takes says more about the machine's other work than about the code.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")

# Idle threads of torch wait instead of spinning: two test processes share the cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

pytest_plugins = [
    "tests.catalog_fixtures",
    "tests.line_fixtures",
    "tests.storage_fixtures",
    "tests.faults.table",
]

REPOSITORY = Path(__file__).resolve().parent.parent
DATA_DIR = Path(os.environ.get("CAPTIONACC_TEST_DATA", REPOSITORY.parent / "shared" / "data")).resolve()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without the shared footage, leave out the tests that need it, and say so in one line."""
    if DATA_DIR.is_dir():
        return
    needing = [item for item in items if item.get_closest_marker("data")]
    if needing:
        config.hook.pytest_deselected(items=needing)
        items[:] = [item for item in items if item not in needing]
        config.stash[_LEFT_OUT] = len(needing)


_LEFT_OUT = pytest.StashKey[int]()


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    if left_out := config.stash.get(_LEFT_OUT, 0):
        terminalreporter.write_line(
            f"{left_out} tests that need the shared footage were left out: {DATA_DIR} is not there "
            "(set CAPTIONACC_TEST_DATA)."
        )
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


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The shared footage; only for tests marked ``data``."""
    return DATA_DIR
