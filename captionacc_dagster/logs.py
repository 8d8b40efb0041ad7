"""Log lines of runs with their subject: video, tenant, run, stage, compute call.

The subject of a block of code is bound in :mod:`structlog`'s context variables (:func:`about`); what Dagster
knows about a run comes with its records. ``CAPTIONACC_LOG_FORMAT=json`` makes each line a JSON object.
``deploy/dagster.yaml`` names :func:`make_formatter` for the handler of runs; the daemon and the web server
have ``--log-format json``. Known secrets are blanked in every line.
"""

import logging
import re
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import structlog
from pydantic import SecretStr
from structlog.typing import EventDict, WrappedLogger

from captionacc_dagster.partition_keys import video_id_of
from captionacc_dagster.settings import Settings, SettingsError, get_settings

#: Tag of a run: name of the field.
_TAGS = {
    ".dagster/captionacc-tenant-id": "tenant",
    ".dagster/captionacc-video-id": "video",
    "dagster/partition": "video",
}
BLANK = "***"
#: Shorter secrets would blank ordinary words.
_SHORTEST_SECRET = 6
_CREDENTIALS = re.compile(r"(?<=://)[^\s/@:]*:[^\s/@]+(?=@)")
_BEARER = re.compile(r"(?i)\b(bearer\s+)[\w.~+/=-]{16,}")


def about(**fields: str | None) -> AbstractContextManager[None]:
    """Bind fields to every line that this thread logs within the block; None binds nothing.

    >>> with about(video="0b…", stage="layout"):
    ...     context.log.info("begun")
    """
    return structlog.contextvars.bound_contextvars(
        **{name: value for name, value in fields.items() if value is not None}
    )


def make_formatter(
    json: bool | None = None, secrets: Iterable[str] | None = None
) -> structlog.stdlib.ProcessorFormatter:
    """Return a formatter for any handler of the standard library: JSON, or text followed by the fields.

    ``json``: by default ``CAPTIONACC_LOG_FORMAT``. ``secrets``: values to blank, by default those of the
    settings. Unreadable settings count as empty: logging must not fail.
    """
    settings = _settings_or_none()
    if json is None:
        json = settings is not None and settings.log_format == "json"
    blank = _Blank(_secrets_of(settings) if secrets is None else secrets)
    exceptions = [structlog.processors.format_exc_info, structlog.processors.UnicodeDecoder()]
    final: list[Any] = (
        [*exceptions, blank, structlog.processors.JSONRenderer(ensure_ascii=False, default=str)]
        if json
        else [*exceptions, blank, _as_text]
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _add_run,
        ],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
    )


def _add_run(logger: WrappedLogger, method: str, fields: EventDict) -> EventDict:
    """Add what Dagster's record contains: the run, its job and step, and the video and tenant by its tags."""
    record: logging.LogRecord | None = fields.get("_record")
    meta: Mapping[str, Any] = getattr(record, "dagster_meta", None) or {}
    if not meta:
        return fields
    # The record's text begins with the job and the run, which are fields here.
    fields["event"] = meta.get("orig_message") or fields["event"]
    for field, name in (("run", "run_id"), ("job", "job_name"), ("step", "step_key")):
        if meta.get(name):
            fields.setdefault(field, meta[name])
    for tag, field in _TAGS.items():
        if value := (meta.get("job_tags") or {}).get(tag):
            fields.setdefault(field, video_id_of(value) if tag == "dagster/partition" else value)
    event = meta.get("dagster_event")
    if event is not None:
        fields["event_type"] = event.event_type_value
        if error := _error_of(event):
            fields["exception"] = error
    return fields


def _error_of(event: Any) -> str | None:
    data = getattr(event, "event_specific_data", None)
    error = getattr(data, "error", None)
    return error.to_string() if error is not None else None


def _as_text(logger: WrappedLogger, method: str, fields: EventDict) -> str:
    time, level, event = (fields.pop(name, "") for name in ("timestamp", "level", "event"))
    exception = fields.pop("exception", None)
    name = fields.pop("logger", "")
    rest = " ".join(f"{key}={value}" for key, value in sorted(fields.items()))
    line = " ".join(part for part in (str(time), str(level).upper(), str(name), str(event), rest) if part)
    return f"{line}\n{exception}" if exception else line


class _Blank:
    """A processor that blanks secrets in every text of a line, including the traceback."""

    def __init__(self, secrets: Iterable[str]) -> None:
        long_enough = {secret for secret in secrets if len(secret) >= _SHORTEST_SECRET}
        known = sorted(long_enough, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, logger: WrappedLogger, method: str, fields: EventDict) -> EventDict:
        return {name: self._blank(value) for name, value in fields.items()}

    def _blank(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: self._blank(part) for key, part in value.items()}
        if isinstance(value, (list, tuple, set)):
            return [self._blank(part) for part in value]
        if value is None or isinstance(value, (bool, int, float)):
            return value
        text = str(value)
        if self._known is not None:
            text = self._known.sub(BLANK, text)
        text = _CREDENTIALS.sub(f"{BLANK}:{BLANK}", text)
        return _BEARER.sub(rf"\g<1>{BLANK}", text)


def blanked(text: str) -> str:
    """Return the text without this process's secrets, for the display of an unexpected error."""
    return _Blank(_secrets_of(_settings_or_none()))._blank(text)


def _settings_or_none() -> Settings | None:
    try:
        return get_settings()
    except SettingsError:
        return None


def _secrets_of(settings: Settings | None) -> list[str]:
    if settings is None:
        return []
    values = (getattr(settings, name) for name in type(settings).model_fields)
    return [value.get_secret_value() for value in values if isinstance(value, SecretStr)]
