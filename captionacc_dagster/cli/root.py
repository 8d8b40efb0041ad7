"""The root of the command line: its Typer app, its consoles, and functions that print.

Importing it takes a tenth of a second, so that ``--help`` answers at once.
"""

import re
from typing import Annotated

import typer
from rich.console import Console

from captionacc_dagster import __version__

# No emoji codes: `:cat:` in a name or a caption is plain text.
console = Console(emoji=False)
#: For messages beside the result: a program may be reading standard output.
notes = Console(stderr=True, emoji=False)
#: Characters that would break a line in a terminal: those that the SQL function ``clean_name`` replaces,
#: and lone surrogates.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: object) -> str:
    """Return text from outside, such as a file name, on one line, with U+FFFD for control characters."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", str(text))


def say(sentence: str) -> None:
    """Print one line that may contain names: without markup, and never wrapped."""
    console.print(printable(sentence), highlight=False, markup=False, soft_wrap=True)


def note(sentence: str) -> None:
    """Print one line as :func:`say` does, but on standard error: it is not part of the result."""
    notes.print(printable(sentence), highlight=False, markup=False, soft_wrap=True)


def _print_version(asked: bool) -> None:
    if asked:
        say(f"captionacc {__version__}")
        raise typer.Exit


def _options_before_the_command(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Hold the options that come before a command."""


def new_app() -> typer.Typer:
    """Return an app without commands."""
    root = typer.Typer(
        name="captionacc",
        help="Turns videos with burned-in captions into timed text.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    root.callback()(_options_before_the_command)
    return root


#: The app that the modules of the commands register them on.
app = new_app()
