"""A video's state: as a word, in one line, and for JSON."""

from collections.abc import Iterable
from datetime import datetime

from rich.markup import escape

from captionacc_dagster.cli import json_models as models
from captionacc_dagster.cli.regions import as_zones
from captionacc_dagster.cli.root import console
from captionacc_dagster.operations.regions import Size
from captionacc_dagster.resources.catalog import STAGES, Stage, VideoRow
from modal_gpu.ocr.languages.finding import UNREADABLE


def state_of(video: VideoRow) -> models.State:
    """Return ``working``, ``ready`` (has text), ``approval``, ``language``, ``error`` or ``deleted``.

    A person must act for ``approval`` (of the layout) and ``language`` (captions that OCR cannot read).
    """
    if video.deleted_at is not None:
        return "deleted"
    if any(video.stage(stage).status == "error" for stage in STAGES):
        return "error"
    if video.text.status in ("annotate", "done") and not video.text.run_id:
        return "language" if video.text.note.startswith(UNREADABLE) else "ready"
    if video.layout.status == "annotate" and not video.layout.run_id:
        return "approval"
    return "working"


def size_of(row: VideoRow) -> Size | None:
    """Return the width and height of a video's frames in pixels; None before its layout was found."""
    return (row.width, row.height) if row.width and row.height else None


def caption_count(row: VideoRow) -> int | None:
    """Return the number of a video's captions; None before they are found."""
    return row.caption_count if row.text_caption_count is None else row.text_caption_count


def result_of(row: VideoRow) -> str:
    """Return what was found in a video that is ready, such as ``3 captions``."""
    count = row.text_caption_count
    return row.text.note or f"{count} caption{'' if count == 1 else 's'}"


def remark(row: VideoRow) -> str:
    """Return what a person should know or do: an error, damage, a pending approval."""
    for stage in STAGES:
        details = row.stage(stage).error_details
        if row.stage(stage).status == "error" and details:
            return f"{stage}: {details.get('message', 'failed')}"
    if state_of(row) == "approval":
        return f"needs approval: {row.layout.note}"
    return "; ".join(filter(None, (row.text.note, row.damage)))


def report_all(rows: Iterable[VideoRow]) -> None:
    """Print one line for each video."""
    for row in rows:
        report(row)


def report(row: VideoRow) -> None:
    """Print the result of a video on one line."""
    name, state, short = escape(row.display_path or row.video_id), state_of(row), row.short_id
    if state == "error":
        line = f"[red]✗[/] {name}: {escape(remark(row))}"
    elif state == "deleted":
        line = f"[red]✗[/] {name} was deleted"
    elif state == "language" or (state == "approval" and row.layout.note.startswith(UNREADABLE)):
        note = row.text.note if state == "language" else row.layout.note
        line = (
            f"[yellow]?[/] {name}: {escape(note)} `captionacc ocr set {short} LANGUAGE` does so "
            "for this video"
        )
    elif state == "approval":
        line = (
            f"[yellow]?[/] {name}: its layout needs your approval ({escape(row.layout.note)}): "
            f"`captionacc layout show {short}`, then `… approve` or `… set`"
        )
    else:
        line = f"[green]✓[/] {name}: {escape(result_of(row))}; `captionacc captions {short}` shows them"
    console.print(line, highlight=False, soft_wrap=True)


def as_video(row: VideoRow) -> models.Video:
    """Return a video for JSON."""
    stages = {stage: _stage(row, stage) for stage in STAGES}
    return models.Video(
        video_id=row.video_id,
        name=row.display_path,
        partition_key=row.partition_key,
        tenant_id=row.tenant_id,
        state=state_of(row),
        remark=remark(row),
        stages=models.Stages(**stages),
        captions=caption_count(row),
        duration_seconds=row.duration_seconds,
        width=row.width,
        height=row.height,
        video_codec=row.video_codec,
        size_bytes=row.size_bytes,
        languages=row.ocr_languages,
        zones=as_zones(row.crop_region, row.caption_zones, size_of(row)),
        approved_by=row.layout_approved_by,
        approved_at=row.layout_approved_at,
        layout_version=row.crop_region_version,
        damage=row.damage,
        created_at=row.created_at,
        deleted_at=row.deleted_at,
    )


def _stage(row: VideoRow, stage: Stage) -> models.Stage:
    state = row.stage(stage)
    details = state.error_details if state.status == "error" else None
    error = None
    if details is not None:
        failed_at = details.get("failed_at")
        error = models.StageError(
            message=details.get("message", "failed"),
            type=details.get("error_type"),
            run_id=details.get("run_id"),
            failed_at=datetime.fromisoformat(failed_at) if failed_at else None,
        )
    return models.Stage(
        status=state.status,
        working=state.run_id is not None,
        run_id=state.run_id or state.last_run_id,
        started_at=state.started_at,
        finished_at=state.finished_at,
        error=error,
        note=state.note,
    )
