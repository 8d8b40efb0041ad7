"""Texts of the errors that a call on Modal ends with."""

from captionacc_dagster.resources.catalog import ComputeCallRow
from captionacc_dagster.resources.compute.modal_client import ModalCallSettings
from modal_gpu.deployment.settings import CAPTION_OCR, TIMEOUT_SETTINGS
from modal_gpu.error_table import Row


def one_line(error: BaseException) -> str:
    """Return an error's class and message, in one line of bounded length."""
    message = " ".join(str(error).split())[:500]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def recorded(row: ComputeCallRow) -> str:
    """Return the reason that the catalogue has for a call's end."""
    return (row.error_details["message"] if row.error_details else "") or "no reason given"


def timed_out(function: str) -> str:
    """Return the predicate for a call that ran into the function's own time limit."""
    parts = "" if function == CAPTION_OCR else "CAPTIONACC_SEGMENT_FRAMES smaller and "
    return (
        "ran longer than the function's time limit. It is not repeated by itself, since another try would "
        f"cost as much and end alike: raise {TIMEOUT_SETTINGS[function]} and deploy, or give a call less "
        f"work ({parts}CAPTIONACC_MAX_PARALLEL above 1), then `captionacc retry`"
    )


def waited_too_long(seconds: float) -> str:
    """Return the predicate for a call that was not done within ``MODAL_WAIT_SECONDS``."""
    return (
        f"was not done within {seconds:.0f} s, queueing included, so it was cancelled. It is not repeated by "
        "itself: look at the app's queue, or raise MODAL_WAIT_SECONDS, then `captionacc retry`"
    )


def misconfigured(settings: ModalCallSettings, function: str, error: Exception, row: Row) -> str:
    """Return the message for an error that the installation's operator has to correct."""
    where = f" in environment {settings.environment}" if settings.environment else ""
    if row.sign == "NotFoundError":
        option = f" --env {settings.environment}" if settings.environment else ""
        return (
            f"{function} of Modal app {settings.app_name} is not deployed{where} ({one_line(error)}): "
            f"deploy it there: modal deploy{option} -m modal_gpu.app"
        )
    return f"Modal refuses this installation{where} ({one_line(error)}): {row.advice}"
