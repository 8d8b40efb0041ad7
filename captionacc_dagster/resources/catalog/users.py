"""The catalogue as a signed-in user: reads under row-level security, changes through the ``app_`` functions.

The same :class:`Catalog` serves users and the platform. A user's transport calls, in place of the platform's
SQL function, the one that checks and records who calls it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from captionacc_dagster.resources.catalog.catalog import Catalog
from captionacc_dagster.resources.catalog.errors import (
    ERRORS_BY_SQLSTATE,
    CatalogError,
    NotPermittedError,
)
from captionacc_dagster.resources.catalog.transport import Condition, Record, Transport


@dataclass(frozen=True)
class _Action:
    """The function for users: ``answer`` is the member of its answer that the platform's function returns.

    ``without`` are arguments that say who acts, which the user's token says already.
    """

    function: str
    answer: str
    without: frozenset[str] = frozenset()


#: By the platform's function.
ACTIONS: Mapping[str, _Action] = {
    "approve_layout_by_person": _Action("app_approve_layout", "video", frozenset({"approved_by"})),
    "set_age_boosting": _Action("app_set_age_boosting", "video"),
    "request_caption_ocr": _Action("app_request_caption_ocr", "request", frozenset({"requested_by"})),
    "retry_stage": _Action("app_retry", "video"),
    "cancel_stage": _Action("app_cancel", "video", frozenset({"cancelled_by"})),
    "complete_review": _Action("app_complete_review", "video"),
    "register_upload": _Action(
        "app_register_upload", "video", frozenset({"tenant_id", "uploaded_by_user_id"})
    ),
    "confirm_upload": _Action("app_confirm_upload", "video"),
    "rename_video": _Action("app_rename_video", "video"),
    "soft_delete_video": _Action("app_delete_video", "video"),
    "create_job": _Action("app_create_job", "job", frozenset({"requested_by"})),
    "cancel_job": _Action("app_cancel_job", "job", frozenset({"cancelled_by"})),
    "finish_export": _Action("app_finish_export", "job"),
    "take_lock": _Action("app_take_lock", "lock"),
    "renew_lock": _Action("app_renew_lock", "value"),
    "release_lock": _Action("app_release_lock", "value"),
    "bump_database_version": _Action("app_bump_database_version", "value"),
    "record_caption_count": _Action("app_record_caption_count", "value"),
}
#: Functions that read what the user may see.
READS = frozenset({"events_cursor", "events_after", "held_locks", "search_videos"})


class UserTransport:
    """A :class:`Transport` whose calls are a user's actions; ``inner`` has the user's token."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner

    def __repr__(self) -> str:
        return f"UserTransport({self._inner!r})"

    @property
    def max_rows(self) -> int | None:
        """The number of rows that one answer can hold; ``None``: any."""
        return self._inner.max_rows

    def call(self, function: str, arguments: Mapping[str, Any], *, repeatable: bool = False) -> list[Record]:
        """Return the rows of a function. Raises :class:`NotPermittedError` for one that users lack."""
        if function in READS:
            return self._inner.call(function, arguments, repeatable=repeatable)
        if function not in ACTIONS:
            raise NotPermittedError(f"users may not call {function}")
        action = ACTIONS[function]
        given = {name: value for name, value in arguments.items() if name not in action.without}
        (row,) = self._inner.call(action.function, given, repeatable=repeatable)
        answer = row.get(action.function, row)
        if not answer.get("ok"):
            kind = ERRORS_BY_SQLSTATE.get(answer.get("code", ""), CatalogError)
            hint = f" {answer['hint']}" if answer.get("hint") else ""
            raise kind(f"{answer.get('message', 'the catalogue refused')}.{hint}".removesuffix("."))
        result = answer[action.answer]
        return result if isinstance(result, list) else [result]

    def select(
        self, table: str, where: Sequence[Condition], order: Sequence[str], limit: int | None = None
    ) -> list[Record]:
        """Return the rows of a table that the user may see."""
        return self._inner.select(table, where, order, limit)

    def as_user(self, token: str, claims: Mapping[str, Any]) -> Transport:
        """Return a transport with another user's rights."""
        return self._inner.as_user(token, claims)

    def close(self) -> None:
        """Do nothing: the connections are the platform's."""


def catalog_of_user(catalog: Catalog, token: str, claims: Mapping[str, Any]) -> Catalog:
    """Return the catalogue with the rights of a user, over the connections of ``catalog``.

    ``token`` must be verified, and ``claims`` its content.
    """
    return Catalog(UserTransport(catalog.transport.as_user(token, claims)))
