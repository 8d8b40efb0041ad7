"""The command line with all of its commands; ``captionacc`` itself loads only the one that is called."""

import typer

from captionacc_dagster.cli.commands import COMMANDS, load
from captionacc_dagster.cli.root import app


def load_all() -> typer.Typer:
    """Return the app with all commands."""
    for command in COMMANDS:
        load(command)
    return app
