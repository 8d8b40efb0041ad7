"""The pages on operations and automation: commands exist with their options, queries run on a catalogue."""

import re
from pathlib import Path

import click
import psycopg
import pytest
import typer.main
from dagster._cli import create_dagster_cli
from dagster._daemon.cli import create_dagster_daemon_cli

from tests import documented_commands
from tests.all_commands import load_all

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "how-to" / "operations.md").read_text()
TOOLS = {
    "captionacc": typer.main.get_command(load_all()),
    "dagster": create_dagster_cli(),
    "dagster-daemon": create_dagster_daemon_cli(),
}


COMMANDS = documented_commands.commands(PAGE + (DOCS / "reference" / "automation.md").read_text(), TOOLS)
QUERIES = documented_commands.queries(PAGE)


def parse(command: str) -> str:
    return documented_commands.parse(command, TOOLS)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_pages_exists_with_its_options(command: str):
    parse(command)


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_of_the_page_runs_on_a_catalogue(query: str, postgres_dsn: str):
    # A number in place of the reader's own, which belongs to no process.
    with psycopg.connect(postgres_dsn) as connection:
        connection.execute(query.replace("PID", "0"))


def test_the_page_has_the_commands_and_queries_that_matter():
    named = {parse(command) for command in documented_commands.commands(PAGE, TOOLS)}
    assert named >= {
        *(
            "captionacc status",
            "captionacc doctor",
            "captionacc retry",
            "captionacc trim",
            "captionacc upkeep",
        ),
        *("dagster get", "dagster set", "dagster list", "dagster start", "dagster-daemon liveness-check"),
    }
    assert len(QUERIES) >= 8


@pytest.mark.parametrize(
    "command", ["captionacc trim --days 3", "dagster sensor begin new_videos", "captionacc upkeep --force"]
)
def test_an_invented_command_would_be_noticed(command: str):
    with pytest.raises(click.UsageError):
        parse(command)


def test_links_inside_the_page_have_targets():
    headings = re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)
    known = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\(#([a-z0-9-]+)\)", PAGE)) <= known
