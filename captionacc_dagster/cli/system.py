"""``migrate`` and ``doctor``: the installation itself."""

import importlib.metadata
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass

import typer
from rich.markup import escape
from rich.table import Table

from captionacc_dagster.cli.app import app, console, parts
from captionacc_dagster.settings import Settings
from modal_gpu.errors import CaptionAccError


@app.command(name="migrate")
def migrate_command() -> None:
    """Bring the catalogue's schema up to date; does nothing when it is."""
    from captionacc_dagster.platform import database_dsn
    from captionacc_dagster.resources.migrations import migrate

    applied = migrate(database_dsn(parts().settings))
    for name in applied:
        console.print(f"applied {name}", highlight=False)
    if not applied:
        console.print("The catalogue is up to date.")


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report. ``advice`` says what to do when ``ok`` is false."""

    what: str
    ok: bool
    detail: str
    advice: str = ""


@app.command()
def doctor() -> None:
    """Say what is configured, what is missing, and what to do about it."""
    settings = parts().settings
    table = Table(box=None, pad_edge=False, show_header=False)
    findings = [_safely(what, look, settings) for what, look in _LOOKS]
    for finding in findings:
        mark = "[green]✓[/]" if finding.ok else "[red]✗[/]"
        table.add_row(mark, finding.what, escape(finding.detail))
        if not finding.ok and finding.advice:
            table.add_row("", "", f"[yellow]{escape(finding.advice)}[/]")
    console.print(table, highlight=False)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def _safely(what: str, look: Callable[[Settings], tuple[bool, str, str]], settings: Settings) -> Finding:
    try:
        return Finding(what, *look(settings))
    except CaptionAccError as error:
        return Finding(what, False, str(error), "")


def _python(settings: Settings) -> tuple[bool, str, str]:
    version = sys.version.split()[0]
    return sys.version_info >= (3, 11), f"{version} ({sys.executable})", "Python 3.11 or newer is needed"


def _packages(settings: Settings) -> tuple[bool, str, str]:
    names = ("dagster", "av", "onnxruntime", "rapidocr", "obstore", "psycopg")
    versions = [f"{name} {importlib.metadata.version(name)}" for name in names]
    return True, ", ".join(versions), ""


def _catalogue(settings: Settings) -> tuple[bool, str, str]:
    from captionacc_dagster.platform import open_catalog

    if settings.supabase_url:
        kind = f"Supabase at {settings.supabase_url}, schema {settings.catalogue_schema}"
    elif settings.database_url:
        kind = "PostgreSQL at CAPTIONACC_DATABASE_URL"
    else:
        kind = f"PostgreSQL embedded in {settings.home / 'postgres'}"
    count = len(open_catalog(settings).list_videos(limit=1000))
    return True, f"{kind}, {count if count < 1000 else '1000 or more'} videos", ""


def _bytes(settings: Settings) -> tuple[bool, str, str]:
    from captionacc_dagster.platform import open_object_store

    store = open_object_store(settings)
    key = f"doctor/{os.getpid()}"
    store.put(key, b"ok", "text/plain")
    same = store.get(key) == b"ok"
    store.delete([key])
    return (
        same,
        f"{settings.effective_storage_url} (wrote, read and removed an object)",
        "what was read differs",
    )


def _ocr(settings: Settings) -> tuple[bool, str, str]:
    from modal_gpu.functions.settings import ComputeSettings
    from modal_gpu.ocr.rapid import RapidOcrEngine

    if settings.ocr_engine == "google_vision":
        from modal_gpu.ocr.google_vision import GoogleVisionEngine

        GoogleVisionEngine(settings.vision).close()
        found = f"Google Vision at {settings.vision.endpoint}, credentials readable (no call was made)"
        return True, found, ""
    compute = ComputeSettings(
        1, settings.ocr_detection_model, settings.ocr_recognition_model, settings.ocr_dictionary
    )
    RapidOcrEngine(compute.ocr())
    own = settings.ocr_recognition_model
    return (
        True,
        f"RapidOCR with {own or 'the models in its wheel (Chinese, Japanese, English, Latin, Greek)'}",
        "",
    )


def _dagster(settings: Settings) -> tuple[bool, str, str]:
    from captionacc_dagster.platform import daemon_is_alive, prepare_dagster_home

    home = prepare_dagster_home(settings)
    running = "its daemon is running" if daemon_is_alive() else "its daemon is not running (`captionacc up`)"
    return True, f"home {home}; {running}", ""


def _disk(settings: Settings) -> tuple[bool, str, str]:
    settings.home.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(settings.home).free / 1e9
    return (
        free > 2,
        f"{free:.0f} GB free in {settings.home}",
        "less than 2 GB: make room or move CAPTIONACC_HOME",
    )


def _modal(settings: Settings) -> tuple[bool, str, str]:
    if not settings.modal_enabled:
        return True, "off (MODAL_ENABLED=false): the functions run on this machine's CPU", ""
    return False, "on", "this version runs its functions locally only: set MODAL_ENABLED=false"


_LOOKS: tuple[tuple[str, Callable[[Settings], tuple[bool, str, str]]], ...] = (
    ("Python", _python),
    ("packages", _packages),
    ("disk", _disk),
    ("catalogue", _catalogue),
    ("object store", _bytes),
    ("OCR", _ocr),
    ("Dagster", _dagster),
    ("Modal", _modal),
)
