"""The command line, ``captionacc``. Each module holds the commands for one purpose."""

import io
import logging
import os
import signal
import sys
import warnings

import click
from rich.markup import escape
from typer import Typer

from captionacc_dagster.cli.commands import COMMANDS, load, outline
from captionacc_dagster.cli.completion import (
    COMPLETE_VARIABLE,
    complete_at_the_first_tab,
    words_so_far,
)
from captionacc_dagster.cli.exit_codes import ExitCode
from captionacc_dagster.cli.root import StoppedError, note, notes, printable
from modal_gpu.disk_full import disk_full
from modal_gpu.errors import CaptionAccError


def _print_error(message: str) -> None:
    text = "\n".join(map(printable, message.splitlines()))
    notes.print(f"[bold red]error:[/] {escape(text)}", highlight=False, soft_wrap=True)


def _print_usage_error(error: click.ClickException) -> None:
    _print_error(error.format_message())
    if isinstance(error, click.UsageError) and error.ctx is not None:
        note(f"`{error.ctx.command_path} --help` shows what it takes.")


def _app_for(arguments: list[str]) -> Typer:
    """Return the app with the command that the arguments name, or the outline with the help of all."""
    if {"--install-completion", "--show-completion"} & set(arguments):
        complete_at_the_first_tab()
    words = words_so_far() if COMPLETE_VARIABLE in os.environ else arguments
    return load(words[0]) if words and words[0] in COMMANDS else outline()


def main() -> None:
    """Run the command line. An expected error is printed as one line, without a traceback."""
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
    # Dagster warns about its preview features when the definitions load; users of a command cannot act on it.
    warnings.filterwarnings("ignore", message=".* is currently in preview")
    # A file name that is not UTF-8 must not make a message fail.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # SIGTERM, as a service manager sends it, acts like Ctrl-C: the platform's processes stop in order.
    # SIGINT is set too because a shell starts background commands with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    # A closed terminal acts the same way, except under nohup.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    code = _run(sys.argv[1:])
    if code:
        sys.exit(code)


def _run(arguments: list[str]) -> int:
    """Run a command and return its exit code; errors that no command expects are raised."""
    try:
        # The result is an exit code only if the command chose one, or Typer met a KeyboardInterrupt.
        result = _app_for(arguments)(standalone_mode=False)
        if result != ExitCode.STOPPED:
            return result if isinstance(result, int) else ExitCode.DONE
        return _stopped(arguments)
    except (KeyboardInterrupt, click.Abort):  # Abort: Ctrl-C or the end of input at a question
        return _stopped(arguments)
    except StoppedError as stopped:
        note(str(stopped))
        return ExitCode.STOPPED
    except click.ClickException as error:
        _print_usage_error(error)
        return ExitCode.WRONG_COMMAND_LINE if isinstance(error, click.UsageError) else ExitCode.FAILED
    except CaptionAccError as error:
        _print_error(str(error))
    except BrokenPipeError:
        # The reader of the output, such as `head`, has closed it. Without this, Python prints a second
        # error when it flushes standard output on exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except Exception as error:
        if full := disk_full(error):
            _print_error(str(full))
        elif isinstance(error, OSError):
            # A file cannot be read or written.
            _print_error(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        else:
            raise
    return ExitCode.FAILED


def _stopped(arguments: list[str]) -> int:
    """Say how to go on after Ctrl-C in a command that does not say it itself."""
    command = COMMANDS.get(arguments[0]) if arguments else None
    note(command.when_stopped if command else "Stopped.")
    return ExitCode.STOPPED
