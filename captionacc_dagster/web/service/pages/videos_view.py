"""Videos as the page of all of them shows each: its stages in words, and what is left to review."""

import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from captionacc_dagster.assets.pictures.drawing import clock
from captionacc_dagster.operations.caption_edits import stored_captions
from captionacc_dagster.resources.catalog import STAGES, VideoRow
from captionacc_dagster.resources.catalog.rows.videos import StageState
from captionacc_dagster.web.service.parts import ServiceParts
from modal_gpu.captions.reviewing import review_cues
from modal_gpu.errors import CaptionAccError

_log = logging.getLogger(__name__)

#: Videos on the page.
MOST_VIDEOS = 50
_KEPT = 2000


@dataclass(frozen=True)
class StageView:
    """A stage as a badge. ``kind`` is its colour."""

    name: str
    words: str
    kind: str
    working: bool


@dataclass(frozen=True)
class VideoView:
    """A row of the page. ``to_review`` is ``None`` before there are captions."""

    id: str
    name: str
    link: str
    stages: Sequence[StageView]
    length: str
    to_review: int | None
    captions: int
    error: str | None


class ReviewCounts:
    """The numbers of captions to review and of all shown, kept until the video's row changes."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[datetime, tuple[int, int]]] = OrderedDict()

    def of(self, parts: ServiceParts, video: VideoRow) -> tuple[int, int] | None:
        """Return ``(to review, all)``; ``None`` without captions, or if they cannot be read now."""
        if video.caption_count is None:
            return None
        if video.video_id in self._known and self._known[video.video_id][0] == video.updated_at:
            return self._known[video.video_id][1]
        try:
            cues = review_cues(
                stored_captions(parts.object_store, video),
                video.timeline,
                parts.settings.growing_captions,
            )
            shown = [cue for cue in cues if cue.standing != "removed"]
            counted = (sum(not cue.is_reviewed for cue in shown), len(shown))
        except CaptionAccError as error:
            # The page shows the other videos, and the next view tries again.
            _log.warning("video %s: its captions cannot be counted: %s", video.video_id, error)
            return None
        self._known[video.video_id] = (video.updated_at, counted)
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return counted


def video_view(video: VideoRow, counts: tuple[int, int] | None) -> VideoView:
    """Return a video's row."""
    has_captions = counts is not None
    page = "captions" if has_captions else "layout"
    return VideoView(
        id=video.video_id,
        name=video.display_path,
        link=f"/review/{video.video_id}/{page}",
        stages=[_stage_view(name, video.stage(name)) for name in STAGES],
        length="" if video.duration_seconds is None else clock(video.duration_seconds),
        to_review=counts[0] if counts else None,
        captions=counts[1] if counts else 0,
        error=video.error,
    )


def _stage_view(name: str, state: StageState) -> StageView:
    if state.run_id:
        return StageView(name, "working", "working", True)
    words = {
        "wait": ("waiting", "idle"),
        "annotate": ("to review", "todo"),
        "done": ("done", "done"),
        "error": ("failed", "failed"),
    }
    text, kind = words[state.status]
    return StageView(name, text, kind, False)
