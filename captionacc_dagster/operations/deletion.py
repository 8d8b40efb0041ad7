"""The deletion of a video: its consequences, and the confirmation that it needs."""

from captionacc_dagster.resources.catalog import STAGES, Catalog, VideoRow
from modal_gpu.errors import CaptionAccError


class NotConfirmedError(CaptionAccError):
    """A deletion was not confirmed."""


def label(video: VideoRow) -> str:
    """Return a video's name and the start of its id."""
    return f"{video.display_path} ({video.short_id})"


def consequences(video: VideoRow, days: float) -> list[str]:
    """Return sentences about what a deletion does; ``days``: how long upkeep keeps the files."""
    working = [stage for stage in STAGES if video.stage(stage).run_id]
    found = "" if video.text_caption_count is None else f" and its {video.text_caption_count} captions"
    lines = [f"{label(video)}{found} will disappear from all lists, and will not be processed further."]
    if working:
        lines.append(f"Its current run ({', '.join(working)}) will be ended.")
    lines.append(f"Upkeep removes the upload and all results after {days:g} days (CAPTIONACC_DELETED_DAYS).")
    return lines


def delete_named(catalog: Catalog, video: VideoRow, name: str) -> VideoRow:
    """Delete a video if ``name`` is its name, which confirms it. Raises :class:`NotConfirmedError`."""
    if name != video.display_path:
        raise NotConfirmedError(
            f"{label(video)} was not deleted: to confirm it, give its name, {video.display_path!r}, as `name`"
        )
    return catalog.soft_delete_video(video.video_id)
