"""The commands, each with the module that holds it. A command imports its own module only.

``--help`` of the command line itself is answered from this table. A test compares it with the commands.
"""

import importlib
from dataclasses import dataclass

import typer

from captionacc_dagster.cli.root import app, new_app

_NOTHING_CHANGED = "Stopped; nothing was changed."
_GOES_ON = "Stopped; the same command goes on."
_COMPLETE_OR_NOT = "Stopped; a change is made completely or not at all, and `captionacc status` shows it."


@dataclass(frozen=True)
class Command:
    """A command or a group of commands: its module in this package, and the first lines of its help.

    ``when_stopped`` is printed after Ctrl-C, unless the command itself says how to go on.
    """

    module: str
    help: str
    when_stopped: str = _NOTHING_CHANGED


#: In the order of the help.
COMMANDS = {
    "extract": Command(
        "extract",
        "Write the subtitles of videos, without a platform: nothing but these files is kept.",
        _GOES_ON,
    ),
    "ingest": Command("videos", "Upload videos and turn them into captions.", _GOES_ON),
    "watch": Command(
        "folder_watch",
        "Turn every video that is dropped into a folder into subtitles beside it, until Ctrl-C.",
        _GOES_ON,
    ),
    "status": Command("status", "Show the status of all videos, or of one in detail."),
    "retry": Command("videos", "Retry a video's failed stages.", _COMPLETE_OR_NOT),
    "captions": Command(
        "caption_commands", "Show a video's captions with their times, and edit them.", _COMPLETE_OR_NOT
    ),
    "export": Command("captions", "Write a video's captions as SubRip, WebVTT, ASS or JSON."),
    "import": Command(
        "import_captions",
        "Make the captions of a corrected SubRip, WebVTT or ASS file a video's captions.",
        _COMPLETE_OR_NOT,
    ),
    "compare": Command(
        "compare", "Compare captions, boxes and chunks of the predecessor, or of a file, with those here."
    ),
    "demo": Command(
        "run", "Make a sample video and turn it into captions, using only this machine.", _GOES_ON
    ),
    "up": Command(
        "up",
        "Run the platform: catalogue, sensors, queue, Dagster's UI and the review page, until Ctrl-C.",
        "Ended.",
    ),
    "stop": Command(
        "up",
        "Stop what runs in this home: `up`, waiting `ingest` commands and the embedded PostgreSQL server.",
        _GOES_ON,
    ),
    "delete": Command(
        "edits",
        "Delete a video: processing stops at once, its files are removed some days later.",
        _COMPLETE_OR_NOT,
    ),
    "rename": Command("edits", "Rename a video. Its id, files and results do not change.", _COMPLETE_OR_NOT),
    "prepare": Command(
        "deployment",
        "Prepare a new or upgraded deployment: catalogue, Dagster's tables, pools. Safe to repeat.",
        _GOES_ON,
    ),
    "trim": Command(
        "deployment", "Remove the step events of old runs, and old outcomes of stages.", _GOES_ON
    ),
    "serve": Command(
        "serve", "Serve the HTTP API, live events, the webhook and the review page, until Ctrl-C.", "Ended."
    ),
    "webhook": Command(
        "webhook",
        "Serve the webhook that Supabase calls for each new video. Needs a running Dagster daemon.",
        "Ended.",
    ),
    "listen": Command(
        "webhook",
        "Start work as soon as the catalogue announces it, until Ctrl-C. Sensors alone take seconds longer.",
        "Ended.",
    ),
    "metrics": Command(
        "metrics",
        "Serve /metrics for Prometheus, /healthz for the platform's health and /livez for this process's.",
        "Ended.",
    ),
    "backfill": Command(
        "backfill",
        "Process finished videos again with a newer extents model; people's edits are kept.",
        _GOES_ON,
    ),
    "infer": Command(
        "infer",
        "Label the frames of finished videos again, and wait; people's edits are kept.",
        "Stopped; runs that were requested go on while a platform runs.",
    ),
    "upkeep": Command(
        "upkeep",
        "Remove leases, versions, calls, folders, partitions and objects that are no longer needed.",
        _GOES_ON,
    ),
    "adopt": Command(
        "adopt",
        "Take over the videos of the predecessor on Prefect, which is only read; people's work is kept.",
        _GOES_ON,
    ),
    "migrate": Command(
        "system", "Bring the catalogue's schema (CAPTIONACC_SCHEMA) up to date. Safe to repeat.", _GOES_ON
    ),
    "doctor": Command("system", "Check the installation, and show what to do about problems."),
    "layout": Command("layout", "Show, change and approve a video's caption layout.", _COMPLETE_OR_NOT),
    "cost": Command("cost", "Show and limit the cost of remote compute.", _COMPLETE_OR_NOT),
    "ocr": Command(
        "ocr", "Show and install the OCR models of languages, and set a video's languages.", _GOES_ON
    ),
    "model": Command("model", "Store, list and verify models of the extents network.", _GOES_ON),
}


def load(command: str) -> typer.Typer:
    """Return the app with at least one command, of :data:`COMMANDS`."""
    importlib.import_module(f"captionacc_dagster.cli.{COMMANDS[command].module}")
    return app


def outline() -> typer.Typer:
    """Return an app whose commands have their help and do nothing, for the help and for a wrong command."""
    listed = new_app()
    for name, command in COMMANDS.items():
        listed.command(name, help=command.help)(_do_nothing)
    return listed


def _do_nothing() -> None:
    """Stand in for a command."""
