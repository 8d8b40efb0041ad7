"""The command ``captionacc``. Each module holds the commands of one purpose."""

import io
import logging
import os
import signal
import sys

from rich.markup import escape

from captionacc_dagster.cli.app import app, notes, printable
from modal_gpu.disk_full import disk_full
from modal_gpu.errors import CaptionAccError

# Commands register themselves on the app; the order here is the order in the help.
from captionacc_dagster.cli import run, up, videos, edits, layout, captions  # noqa: F401  isort: skip
from captionacc_dagster.cli import webhook, metrics  # noqa: F401  isort: skip
from captionacc_dagster.cli import deployment, cost, model, backfill, upkeep, system  # noqa: F401  isort: skip


def _say(message: str) -> None:
    text = "\n".join(map(printable, message.splitlines()))
    notes.print(f"[bold red]error:[/] {escape(text)}", highlight=False, soft_wrap=True)


def main() -> None:
    """Entry point: an expected error is one line and exit code 1, never a traceback."""
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
    # A name that is not UTF-8 is no reason for a message to fail.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # A service manager's stop ends as Ctrl-C does: the platform's processes are stopped in order.
    # Set for both: a shell starts background commands with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    # As does a closed terminal, except under nohup.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    try:
        app()
    except CaptionAccError as error:
        _say(str(error))
        sys.exit(1)
    except BrokenPipeError:
        # Whoever read the output, such as `head`, has enough; Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)
    except Exception as error:
        if full := disk_full(error):
            _say(str(full))
            sys.exit(1)
        if not isinstance(error, OSError):
            raise
        # A file that cannot be written or read.
        _say(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
