"""The processing of a video as people steer it: what failed is tried again, what exists is made again."""

from collections.abc import Sequence
from typing import Literal

from captionacc_dagster.resources.catalog import STAGES, Catalog, Stage, VideoDeletedError, VideoRow

#: Stages from which a video can be made again, by what they make.
_MADE_FROM: dict[str, Literal["layout", "boundaries"]] = {"layout": "layout", "captions": "boundaries"}


def retry_failed(catalog: Catalog, video: VideoRow) -> list[Stage]:
    """Let a video's failed stages wait for a run again, and return them."""
    failed = [stage for stage in STAGES if video.stage(stage).status == "error"]
    for stage in failed:
        catalog.retry_stage(video.video_id, stage)
    return failed


def make_again(catalog: Catalog, video: VideoRow, begin_with: str) -> VideoRow:
    """Let a video's ``layout``, or its ``captions``, and all that follows be made again.

    An approved layout stays approved, and captions of people are kept. Raises ``WrongStateError`` while a
    run works on it, or before captions can be made.
    """
    return catalog.restart_stage(video.video_id, _MADE_FROM[begin_with])


def process_further(catalog: Catalog, video: VideoRow) -> str:
    """Retry what failed, and return in words what happens next, or what a person has to decide.

    Raises ``VideoDeletedError``.
    """
    if video.deleted_at is not None:
        raise VideoDeletedError(f"{video.display_path} was deleted; upload it again")
    if failed := retry_failed(catalog, video):
        return f"{_listed(failed)} will be tried again"
    if working := [stage for stage in STAGES if video.stage(stage).run_id]:
        return f"a run works on its {_listed(working)}"
    if video.layout.status == "annotate":
        return "its layout waits for an approval: launch `approve_layout`"
    if waiting := [stage for stage in STAGES if video.stage(stage).status == "wait"]:
        return f"{_listed(waiting)} will be made"
    return "everything is made; choose with `begin_with` what is to be made again"


def _listed(stages: Sequence[Stage]) -> str:
    return " and ".join(stages) if len(stages) < 3 else f"{', '.join(stages[:-1])} and {stages[-1]}"
