"""The root of the command line: its Typer app, its consoles, and functions that print.

Importing it takes a tenth of a second, so that ``--help`` answers at once.
"""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TextIO

import typer
from rich.console import Console

from captionacc_dagster import __version__

#: Columns of output that no terminal shows: rich would wrap it at 80, in the middle of names and sentences.
_UNWRAPPED = 10_000


def _width(stream: TextIO) -> int | None:
    """Return the columns of a stream; None for a terminal's own, or those of the variable COLUMNS."""
    return None if stream.isatty() or os.environ.get("COLUMNS", "").isdigit() else _UNWRAPPED


# No emoji codes: `:cat:` in a name or a caption is plain text.
console = Console(emoji=False, width=_width(sys.stdout))
#: For messages beside the result: a program may be reading standard output.
notes = Console(stderr=True, emoji=False, width=_width(sys.stderr))
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


class StoppedError(Exception):
    """Ctrl-C, or a signal that acts like it, after which the message says how to go on.

    Not a ``KeyboardInterrupt``, which Typer replaces, and not a ``CaptionAccError``, which commands handle.
    """


@contextmanager
def waiting(what: str, *, in_a_line: bool = True) -> Iterator[None]:
    """Show what the block is doing: a spinner on a terminal; elsewhere a line, if ``in_a_line``."""
    if notes.is_terminal:
        with notes.status(f"{what}…"):
            yield
        return
    if in_a_line:
        note(f"{what}…")
    yield


def command_line() -> str:
    """Return how this person can call ``captionacc``: its path where a shell would not find the name."""
    if shutil.which("captionacc"):
        return "captionacc"
    program = Path(sys.argv[0])
    if program.name != "captionacc":
        return f"{shlex.quote(sys.executable)} -m captionacc_dagster"
    return shlex.quote(str(program))


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
