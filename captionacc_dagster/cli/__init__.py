"""The command ``captionacc``. Each module holds the commands of one purpose."""

import logging
import signal
import sys

from captionacc_dagster.cli.app import app, console
from modal_gpu.errors import CaptionAccError

# Commands register themselves on the app; the order here is the order in the help.
from captionacc_dagster.cli import run, videos, layout, captions, system  # noqa: F401  isort: skip


def main() -> None:
    """Entry point: an expected error is one line and exit code 1, never a traceback."""
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
    # A service manager's stop ends as Ctrl-C does: the platform's processes are stopped in order.
    # Set for both: a shell starts background commands with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        app()
    except CaptionAccError as error:
        console.print(f"[bold red]error:[/] {error}", highlight=False)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
