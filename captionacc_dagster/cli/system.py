"""``migrate`` and ``doctor``: the schema and the state of an installation."""

import importlib
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from captionacc_dagster.cli.app import Use, parts
from captionacc_dagster.cli.deployment import use_dagster_home
from captionacc_dagster.cli.findings import check_safely, in_one_line, report
from captionacc_dagster.cli.json_output import AsJson
from captionacc_dagster.cli.root import app, console
from captionacc_dagster.platform.disk import disk_places, little_space
from captionacc_dagster.platform.homes import is_home, known_homes
from captionacc_dagster.settings import Settings
from modal_gpu.errors import CaptionAccError, ConfigurationError


@app.command(name="migrate")
def migrate_command(
    write: Annotated[
        Path | None,
        typer.Option(help="write the files to this folder instead, for `supabase db push`", file_okay=False),
    ] = None,
) -> None:
    """Bring the catalogue's schema (CAPTIONACC_SCHEMA) up to date. Safe to repeat."""
    from captionacc_dagster.resources.catalog.migrations import migrate, write_migrations
    from captionacc_dagster.resources.opening import database_dsn

    here = parts(Use.MAKE)
    settings = here.settings
    schema = settings.catalogue_schema
    if write is not None:
        new = write_migrations(write, schema)
        console.print(f"{len(new)} new files for the schema {schema} in {write}", highlight=False)
        return
    here.open_home()
    applied = migrate(database_dsn(settings), schema=schema)
    for name in applied:
        console.print(f"applied {name}", highlight=False)
    if not applied:
        console.print(f"The catalogue in the schema {schema} is up to date.", highlight=False)


@app.command()
def doctor(
    modal: Annotated[bool, typer.Option("--modal", help="check the Modal side instead")] = False,
    as_json: AsJson = False,
) -> None:
    """Check the installation, and show what to do about problems."""
    if modal:
        from captionacc_dagster.cli.modal_checks import modal_findings
        from modal_gpu.deployment.settings import modal_settings

        report(modal_findings(_modal_client(), modal_settings()), as_json=as_json)
        return
    settings = parts().settings
    findings = (check_safely(what, partial(check, settings), _explain) for what, check in _CHECKS)
    report(findings, as_json=as_json)


def _modal_client() -> ModuleType:
    try:
        return importlib.import_module("modal")
    except ImportError as error:
        raise ConfigurationError(
            f"Modal's client cannot be loaded ({error}): reinstall captionacc-dagster, which brings it"
        ) from None


def _explain(error: BaseException) -> tuple[str, str]:
    if isinstance(error, CaptionAccError):
        return str(error), ""
    if isinstance(error, ImportError):
        return (
            f"a package cannot be loaded: {in_one_line(error)}",
            "install captionacc-dagster again, into an environment of its own",
        )
    return (
        f"the check failed: {in_one_line(error)}",
        "a defect of captionacc or of a library: report it with this line",
    )


def _python(settings: Settings) -> tuple[bool, str, str]:
    version = sys.version.split()[0]
    return sys.version_info >= (3, 11), f"{version} ({sys.executable})", "Python 3.11 or newer is needed"


def _packages(settings: Settings) -> tuple[bool, str, str]:
    names = ("dagster", "av", "onnxruntime", "rapidocr", "obstore", "psycopg")
    versions = [f"{name} {importlib.metadata.version(name)}" for name in names]
    return True, ", ".join(versions), ""


def _catalogue(settings: Settings) -> tuple[bool, str, str]:
    from captionacc_dagster.resources.opening import open_catalog

    if settings.supabase_url:
        kind = f"Supabase at {settings.supabase_url}, schema {settings.catalogue_schema}"
    elif settings.database_url:
        kind = f"PostgreSQL at CAPTIONACC_DATABASE_URL, schema {settings.catalogue_schema}"
    else:
        kind = f"PostgreSQL embedded in {settings.home / 'postgres'}"
    if settings.has_embedded_catalogue and not is_home(settings.home):
        return True, f"{kind}; {_no_home(settings)}", ""
    count = len(open_catalog(settings).list_videos(limit=1000))
    return True, f"{kind}, {count if count < 1000 else '1000 or more'} videos", ""


def _no_home(settings: Settings) -> str:
    known = known_homes(settings.home)
    others = f" (known: {', '.join(map(str, known[:3]))})" if known else ""
    return f"there is no home yet{others}; `captionacc ingest FILE` creates one"


def _bytes(settings: Settings) -> tuple[bool, str, str]:
    from captionacc_dagster.resources.opening import open_object_store

    if settings.has_embedded_bucket and not is_home(settings.home):
        return True, f"{settings.effective_storage_url}; {_no_home(settings)}", ""
    store = open_object_store(settings)
    key = f"doctor/{os.getpid()}"
    store.put(key, b"ok", "text/plain")
    same = store.get(key) == b"ok"
    store.delete([key])
    return (
        same,
        f"{settings.effective_storage_url} (wrote, read and removed an object)",
        "the object read differs from the one written",
    )


def _ocr(settings: Settings) -> tuple[bool, str, str]:
    from captionacc_dagster.resources.compute_settings import compute_settings
    from modal_gpu.ocr.tesseract import TesseractEngine

    if settings.ocr_engine == "google_vision":
        from modal_gpu.ocr.google_vision import GoogleVisionEngine

        GoogleVisionEngine(settings.vision).close()
        return (
            True,
            f"Google Vision at {settings.vision.endpoint}, credentials readable (no call was made)",
            "",
        )
    # Languages without a model of RapidOCR's are read by Tesseract whatever the setting.
    if isinstance(compute_settings(settings).open_ocr("frames"), TesseractEngine):
        return True, f"Tesseract, {settings.ocr_language}", ""
    own = settings.ocr_recognition_model
    read = settings.ocr_language or "without OCR_LANGUAGE: Chinese, Japanese and languages of western Europe"
    return True, f"RapidOCR with {own}" if own else f"RapidOCR, {read}", ""


def _dagster(settings: Settings) -> tuple[bool, str, str]:
    from captionacc_dagster.platform.daemon_keeper import find_runner

    home = settings.dagster_home
    if not (home / "dagster.yaml").exists():
        return True, f"home {home}; not there yet: `captionacc up` creates it", ""
    use_dagster_home(settings)
    runner = find_runner(settings)
    running = f"{runner.what} runs its daemon" if runner else "its daemon is not running (`captionacc up`)"
    return True, f"home {home}; {running}", ""


def _disk(settings: Settings) -> tuple[bool, str, str]:
    places = disk_places(settings)
    shown = ", ".join(f"{place.free / 1e9:.0f} GB free in {place.folder}" for place in places)
    return not any(place.is_little for place in places), shown, little_space(places) or ""


def _modal(settings: Settings) -> tuple[bool, str, str]:
    if not settings.modal_enabled:
        return True, "off (MODAL_ENABLED=false): the functions run on this machine's CPU", ""
    from modal_gpu.deployment.settings import modal_settings

    name = modal_settings().app_name
    return True, f"on: the functions run in the app {name}; `captionacc doctor --modal` checks it", ""


_CHECKS: tuple[tuple[str, Callable[[Settings], tuple[bool, str, str]]], ...] = (
    ("Python", _python),
    ("packages", _packages),
    ("disk", _disk),
    ("catalogue", _catalogue),
    ("object store", _bytes),
    ("OCR", _ocr),
    ("Dagster", _dagster),
    ("Modal", _modal),
)
