"""The command line, ``captionacc``. Each module holds the commands for one purpose."""

import io
import logging
import os
import signal
import sys
import warnings

from rich.markup import escape
from typer import Typer

from captionacc_dagster.cli.commands import COMMANDS, load, load_all, outline
from captionacc_dagster.cli.root import notes, printable
from modal_gpu.disk_full import disk_full
from modal_gpu.errors import CaptionAccError


def _print_error(message: str) -> None:
    text = "\n".join(map(printable, message.splitlines()))
    notes.print(f"[bold red]error:[/] {escape(text)}", highlight=False, soft_wrap=True)


def _app_for(arguments: list[str]) -> Typer:
    """Return the app with the command that the arguments name, or all that the help and completion need."""
    if "_CAPTIONACC_COMPLETE" in os.environ:
        return load_all()
    return load(arguments[0]) if arguments and arguments[0] in COMMANDS else outline()


def main() -> None:
    """Run the command line. An expected error is printed as one line, with exit code 1 and no traceback."""
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
    try:
        _app_for(sys.argv[1:])()
    except CaptionAccError as error:
        _print_error(str(error))
        sys.exit(1)
    except BrokenPipeError:
        # The reader of the output, such as `head`, has closed it. Without this, Python prints a second
        # error when it flushes standard output on exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)
    except Exception as error:
        if full := disk_full(error):
            _print_error(str(full))
            sys.exit(1)
        if not isinstance(error, OSError):
            raise
        # A file cannot be read or written.
        _print_error(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
