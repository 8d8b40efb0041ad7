"""Lengths and moments as commands print them: to the second."""

from datetime import datetime


def length(seconds: float) -> str:
    """Return a length of time as ``m:ss``, with hours if there are any."""
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def moment(when: datetime) -> str:
    """Return a moment in this machine's time zone, such as ``2026-11-27 16:04:31``."""
    return f"{when.astimezone():%Y-%m-%d %H:%M:%S}"
