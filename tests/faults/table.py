"""The table of faults and their outcomes, at the end of a test run; a pytest plugin."""

import json
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass, fields

import pytest

PROPERTY = "fault"


@dataclass(frozen=True)
class Healed:
    """A row of the table. ``seconds``: from the fault until the step, or all work on the video, was done."""

    fault: str
    asset: str
    step: str
    healed_by: str
    seconds: float
    captions: str = "equal"


Tell = Callable[[Healed], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all-faults",
        action="store_true",
        help="kill a run at each step of each asset, a video a step (some minutes); else at the main ones",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--all-faults"):
        return
    thorough = [item for item in items if item.get_closest_marker("thorough")]
    if thorough:
        config.hook.pytest_deselected(items=thorough)
        items[:] = [item for item in items if item not in thorough]


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    rows = [
        Healed(**json.loads(value))
        for status in ("passed", "failed")
        for report in terminalreporter.getreports(status)
        if report.when == "call"
        for name, value in report.user_properties
        if name == PROPERTY
    ]
    if rows:
        terminalreporter.section("faults: what healed them")
        for line in table(rows):
            terminalreporter.write_line(line)


def table(rows: list[Healed]) -> list[str]:
    """Return the lines of a Markdown table."""
    header = tuple(field.name.replace("_", " ") for field in fields(Healed))
    cells = [header, *(tuple(map(_cell, astuple(row))) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in cells]
    return [lines[0], "| " + " | ".join("-" * width for width in widths) + " |", *lines[1:]]


def _cell(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


@pytest.fixture
def tell(record_property) -> Tell:
    """Add a row to the table."""
    return lambda row: record_property(PROPERTY, json.dumps(asdict(row)))
