"""The line that each process logs when it starts: version, compute, catalogue, bucket and engines.

It has no secret: of addresses it shows the host, the database and the bucket only.
"""

import logging

from captionacc_dagster import __version__
from captionacc_dagster.logs import make_formatter
from captionacc_dagster.resources.in_force import catalogue_in_force, compute_in_force, store_in_force
from captionacc_dagster.settings import Settings, load_settings
from modal_gpu.errors import CaptionAccError

#: Below Dagster's own logger, whose handlers and format its processes set up.
_dagster_log = logging.getLogger("dagster.captionacc")


def start_line(settings: Settings, process: str) -> str:
    """Return the line of a process such as ``serve``.

    A part whose settings are wrong is named with the reason: the process itself decides what that means.
    """
    catalogue, store = catalogue_in_force(settings), store_in_force(settings)
    place = store["place"]
    if place.startswith("s3://"):
        place = f"{place} at {store['endpoint']}, region {store['region']}"
    return (
        f"captionacc {__version__} {process}: {_compute(settings)}; catalogue {catalogue['kind']}, "
        f"{catalogue['place']}, schema {catalogue['schema_name']}; bucket {place}"
    )


def _compute(settings: Settings) -> str:
    try:
        compute = compute_in_force(settings)
    except CaptionAccError as error:
        return f"compute not usable ({error})"
    return (
        f"compute {compute['backend']}, OCR {compute['ocr_engine']} ({compute['ocr_languages']}), "
        f"extents {compute['extents_model']}"
    )


def log_start(settings: Settings, process: str) -> None:
    """Log the line of a process that has no log of its own, on standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(make_formatter())
    log = logging.getLogger("captionacc_dagster.start")
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)
    log.info("%s", start_line(settings, process))


def log_start_of_code_server() -> None:
    """Log the line in one of Dagster's code servers; the daemon's and the web server's log contain it."""
    try:
        line = start_line(load_settings(), "code server")
    except CaptionAccError as error:
        line = f"captionacc {__version__} code server: the settings are not usable: {error}"
    _dagster_log.info("%s", line)
