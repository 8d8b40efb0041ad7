"""The choice of finished videos that are to get a newer extents model."""

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time

from captionacc_dagster.operations.tenant_names import find_tenant
from captionacc_dagster.resources.catalog import BackfillChoice, Catalog, VideoRow
from modal_gpu.errors import CaptionAccError, ConfigurationError

#: Conditions by name, with their help texts.
CONDITIONS = {
    "tenant": "a tenant's name, id, or start of an id",
    "video": "id, start of an id, or file name",
    "model-version": "the model of its current captions, such as extents-1",
    "status": "ready (the default) or reviewed",
    "uploaded-before": "a date or a time (UTC), such as 2026-11-01T12:00",
    "uploaded-after": "likewise",
}
STATUSES = ("ready", "reviewed")


class ConditionError(CaptionAccError):
    """A condition on videos is not valid."""


def check_model(wanted: str | None, in_use: str) -> None:
    """Raise :class:`ConfigurationError` for a model that the functions do not use."""
    if wanted not in (None, in_use):
        raise ConfigurationError(
            f"the functions use the model {in_use}, so a backfill cannot produce {wanted}: set "
            "EXTENTS_MODEL to its file for this command and for the platform (on Modal, deploy again)"
        )


def read_conditions(
    catalog: Catalog, given: Iterable[tuple[str, str]], find: Callable[[str], VideoRow]
) -> dict[str, list[str]]:
    """Return names and values as the catalogue takes them; ``find`` returns a video by its name.

    Raises :class:`ConditionError` that begins with the condition, and what ``find`` and
    :func:`~captionacc_dagster.operations.tenant_names.find_tenant` raise.
    """
    conditions: dict[str, list[str]] = {}
    for name, value in given:
        conditions.setdefault(name.replace("-", "_"), []).append(_value(catalog, name, value, find))
    return conditions


def _value(catalog: Catalog, name: str, value: str, find: Callable[[str], VideoRow]) -> str:
    if name == "status" and value not in STATUSES:
        raise ConditionError(f"status={value}: the status must be one of {', '.join(STATUSES)}")
    if name == "tenant":
        return find_tenant(catalog, value).tenant_id
    if name == "video":
        return find(value).video_id
    if name.startswith("uploaded-"):
        return moment(name, value)
    return value


def moment(name: str, value: str) -> str:
    """Return a time in ISO 8601 with its zone; a date is its midnight in UTC."""
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise ConditionError(
            f"{name}={value}: give a date or a time such as 2026-11-01 or 2026-11-01T12:00"
        ) from None
    if found.time() == time(0) and len(value) == len(date.min.isoformat()):
        found = datetime.combine(found.date(), time(0), UTC)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).isoformat()


def request_backfill(
    catalog: Catalog,
    model: str,
    conditions: Mapping[str, Sequence[str]],
    *,
    asked_by: str,
    limit: int | None,
    apply: bool,
) -> BackfillChoice:
    """Choose videos, the newest first, and with ``apply`` request a backfill of them."""
    return catalog.request_backfill(
        str(uuid.uuid4()), model, conditions, asked_by, limit=limit, dry_run=not apply
    )
