"""docs/how-to/verification.md, end-to-end.md and moving-over.md: commands run or exist, queries are right."""

import re
import shlex
import uuid
from decimal import Decimal
from pathlib import Path

import click
import dagster as dg
import psycopg
import pytest
import typer.main
from dagster._cli import create_dagster_cli
from dagster._daemon.cli import create_dagster_daemon_cli
from modal.cli.entry_point import entrypoint_cli

from captionacc_dagster.comparison.figures import RULES
from captionacc_dagster.platform.dagster_home import prepare_dagster_home
from captionacc_dagster.resources.catalog import VideoRow
from captionacc_dagster.resources.start_line import start_line
from captionacc_dagster.settings import Settings, get_settings
from tests import documented_commands
from tests.all_commands import load_all
from tests.cli.conftest import Captionacc
from tests.line_fixtures import Line

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "how-to" / "verification.md").read_text(encoding="utf-8")
PAGES = [
    PAGE,
    *((DOCS / "how-to" / name).read_text(encoding="utf-8") for name in ("end-to-end.md", "moving-over.md")),
]
TOOLS = {
    "captionacc": typer.main.get_command(load_all()),
    "dagster": create_dagster_cli(),
    "dagster-daemon": create_dagster_daemon_cli(),
    "modal": entrypoint_cli,
}
COMMANDS = [c for c in documented_commands.commands("\n".join(PAGES), TOOLS) if "…" not in c]
#: Rows of the checklist that need a running daemon, Modal or a video that is not there.
NOT_RUN = re.compile(r"captionacc (doctor --modal|ingest)|dagster")


def rows(heading: str) -> list[tuple[str, str]]:
    """Return the cells of the table below a heading."""
    section = PAGE.partition(f"\n{heading}\n")[2].partition("\n#")[0]
    cells = re.findall(r"^\| `([^|]+)` \| (.+) \|$", section, re.MULTILINE)
    return [(command, expected) for command, expected in cells]


def pattern(expected: str) -> str:
    """Return an expression for a line of the page, in which … stands for anything."""
    return ".*".join(re.escape(" ".join(part.split())) for part in re.split(r" ?… ?|…", expected))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_pages_exists_with_its_options(command: str):
    if command != "captionacc --version":
        documented_commands.parse(command, TOOLS, ends_at=("run", "captions", "cost"))


def test_the_checklist_prints_what_it_says(captionacc: Captionacc, line: Line, finished: VideoRow):
    line.catalog.rename_video(finished.video_id, "talk.mp4")
    get_settings.cache_clear()
    prepare_dagster_home(get_settings())
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions("videos", [finished.partition_key])
    checked = [
        (command, expected) for command, expected in rows("## Checklist") if not NOT_RUN.match(command)
    ]
    assert len(checked) >= 12
    wrong = []
    for command, expected in checked:
        result = captionacc(*shlex.split(command)[1:])
        printed = [" ".join(printed.split()) for printed in (result.output + result.errors).splitlines()]
        (wanted, *_) = re.findall(r"`([^`]+)`", expected)
        if result.code or not any(re.search(pattern(wanted), one) for one in printed):
            wrong.append(f"{command}: {wanted} is not in ({result.code}):\n{result.output}{result.errors}")
    assert not wrong, "\n".join(wrong)


def test_start_up_lines_are_those_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    section = PAGE.partition("## Start-up lines")[2].partition("\n## ")[0]
    here, deployed = re.findall(r"```text\n(.*?)\n```", section, re.DOTALL)[0].splitlines()
    embedded = Settings(_env_file=None, CAPTIONACC_HOME=tmp_path)
    assert re.fullmatch(pattern(here), start_line(embedded, "serve"))
    for name, value in {
        "CAPTIONACC_DATABASE_URL": "postgresql://ann:secret@db.example.org:5432/captions",
        "WASABI_BUCKET": "captions",
        "WASABI_ENDPOINT_URL": "https://s3.us-east-1.wasabisys.com",
        "WASABI_REGION": "us-east-1",
        "MODAL_ENABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    assert re.fullmatch(pattern(deployed), start_line(Settings(_env_file=None), "code server"))


def outcomes(postgres_dsn: str, *ends: tuple[str, str, str]) -> None:
    """Record ends of stages: the video, ``finished`` or the type of an error, and how long ago."""
    ids: dict[str, uuid.UUID] = {}
    with psycopg.connect(postgres_dsn) as connection:
        for video, end, ago in ends:
            error = "" if end == "finished" else end
            connection.execute(
                "insert into captionacc.stage_outcomes"
                " (tenant_id, video_id, stage, outcome, error_type, occurred_at)"
                " values (%s, %s, 'text', %s, %s, now() - %s::interval)",
                [
                    uuid.UUID(int=1),
                    ids.setdefault(video, uuid.uuid4()),
                    "error" if error else "finished",
                    error,
                    ago,
                ],
            )


def test_the_queries_show_the_targets(postgres_dsn: str):
    outcomes(
        postgres_dsn,
        ("a", "finished", "1 day"),
        ("b", "StorageError", "3 days"),
        ("b", "finished", "2 days"),
        ("c", "LockHeldError", "2 days"),
        ("c", "LockHeldError", "1 day"),
        # Not the platform's: a person, a quota, a file. And long ago.
        ("d", "CancelledError", "1 day"),
        ("h", "Cancelled", "1 day"),
        ("e", "QuotaExceededError", "1 day"),
        ("f", "NotAVideoError", "1 day"),
        ("g", "StorageError", "9 days"),
        ("g", "StorageError", "8 days"),
    )
    success, again, contention, leases = documented_commands.queries(PAGE)
    with psycopg.connect(postgres_dsn) as connection:
        assert connection.execute(success).fetchall() == [("text", 5, 40)]
        assert connection.execute(again).fetchall() == [(2, 50)]
        assert connection.execute(contention).fetchall() == [(9, Decimal("22.22"))]
        assert connection.execute(leases).fetchall() == [("captions", 0, 0, 0), ("layout", 0, 0, 0)]


def test_without_any_stage_the_queries_have_no_share(postgres_dsn: str):
    with psycopg.connect(postgres_dsn) as connection:
        for query in documented_commands.queries(PAGE)[1:3]:
            assert connection.execute(query).fetchall() == [(0, None)]


def test_the_limits_of_the_page_are_those_of_the_command():
    page = (DOCS / "reference" / "commands.md").read_text(encoding="utf-8")
    table = dict(re.findall(r"^\| `(\w+)` \| .+ \| ([\d.]+)(?: %.*)? \|$", page, re.MULTILINE))
    assert table == {rule.name: f"{100 * rule.limit if rule.of else rule.limit:g}" for rule in RULES}


def test_the_decision_rule_has_the_limits_of_the_command():
    page = (DOCS / "how-to" / "moving-over.md").read_text(encoding="utf-8")
    section = page.partition("## The decision rule")[2].partition("\n## ")[0]
    found: dict[str, str] = {}
    for names, limits in re.findall(r"^\| (`.+?`) \| ([\d.,% ]+) \|", section, re.MULTILINE):
        named, values = re.findall(r"`(\w+)`", names), limits.split(", ")
        found |= dict(zip(named, values * len(named) if len(values) == 1 else values, strict=True))
    assert found == {rule.name: f"{100 * rule.limit:g} %" if rule.of else f"{rule.limit:g}" for rule in RULES}


@pytest.mark.parametrize(
    "command", ["captionacc compare a --with-file b", "modal app log x", "dagster instance pools"]
)
def test_an_invented_command_would_be_noticed(command: str):
    with pytest.raises(click.UsageError):
        documented_commands.parse(command, TOOLS)
