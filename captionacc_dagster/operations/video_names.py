"""A video by what people call it: its name, its id or the start of one, or its partition key."""

from collections.abc import Callable, Sequence
from uuid import UUID

from captionacc_dagster.partition_keys import video_id_of
from captionacc_dagster.resources.catalog import Catalog, UnknownVideoError, VideoRow
from captionacc_dagster.resources.catalog.rows.videos import SHORT_ID
from modal_gpu.errors import InvalidIdError

#: Videos with the same name that are considered.
_MOST_MATCHES = 100


def find_video(
    catalog: Catalog, name: str, *, only_one: bool = False, note: Callable[[str], object] = lambda _: None
) -> VideoRow:
    """Return a video by its id, the start of its id, its partition key, or its name.

    Of several videos with the same name it returns the newest, and passes a sentence about it to ``note``.
    Raises :class:`UnknownVideoError` for an unknown id, and :class:`InvalidIdError`, which lists the videos,
    for an ambiguous name: the start of several ids, a name in several tenants, and with ``only_one`` a name
    that several videos have.
    """
    video_id = _full_id(name)
    if video_id is not None and (row := _get_video(catalog, video_id)) is not None:
        return row
    rows = catalog.find_videos(name, _MOST_MATCHES)
    if len(rows) == 1:
        return rows[0]
    if not rows and video_id is not None:
        raise UnknownVideoError(f"video {video_id} is not in the catalogue")
    if not rows:
        raise InvalidIdError(f"no video matches {name!r}; `captionacc status` lists all videos")
    newest = rows[0]
    by_id = any(row.video_id.startswith(name.lower()) for row in rows)
    if only_one or by_id or any(row.tenant_id != newest.tenant_id for row in rows):
        raise InvalidIdError(_ambiguous(name, rows))
    note(f"{_count(rows)} videos are named {newest.display_path}; using the newest, {_label(newest)}.")
    return newest


def _get_video(catalog: Catalog, video_id: str) -> VideoRow | None:
    try:
        return catalog.get_video(video_id)
    except UnknownVideoError:
        return None


def _full_id(name: str) -> str | None:
    try:
        return str(UUID(video_id_of(name)))
    except ValueError:
        return None


def _count(rows: Sequence[VideoRow]) -> str:
    return f"{len(rows)} or more" if len(rows) == _MOST_MATCHES else str(len(rows))


def _label(row: VideoRow, length: int = SHORT_ID) -> str:
    return f"{row.video_id[:length]} from {row.created_at.astimezone():%Y-%m-%d %H:%M:%S}"


def _ambiguous(name: str, rows: Sequence[VideoRow]) -> str:
    length = telling([row.video_id for row in rows])
    listed = ", ".join(_label(row, length) for row in rows[:5]) + (", …" if len(rows) > 5 else "")
    return f"{_count(rows)} videos match {name!r}, newest first: {listed}; give one of these ids"


def telling(ids: Sequence[str]) -> int:
    """Return how many characters tell these ids apart, at least those of a short id."""
    longest = max(map(len, ids))
    return next(n for n in range(SHORT_ID, longest + 1) if len({one[:n] for one in ids}) == len(ids))
