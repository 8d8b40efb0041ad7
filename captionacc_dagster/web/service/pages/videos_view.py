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
    """A stage as a badge. ``kind`` is its colour, ``run`` the run that works on it."""

    name: str
    words: str
    kind: str
    run: str | None = None


@dataclass(frozen=True)
class VideoView:
    """A row of the page. ``left`` is ``None`` before there are captions."""

    id: str
    name: str
    link: str
    stages: Sequence[StageView]
    length: str
    left: "LeftToReview | None"
    error: str | None


@dataclass(frozen=True)
class LeftToReview:
    """The numbers of captions that nobody has reviewed, of the doubtful ones among them, and of all."""

    captions: int
    doubtful: int
    of: int


class ReviewCounts:
    """Counts the captions that are left to review of each video; a count is kept until the row changes."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[datetime, LeftToReview]] = OrderedDict()

    def of(self, parts: ServiceParts, video: VideoRow) -> LeftToReview | None:
        """Return what is left of a video; ``None`` without captions, or if they cannot be read now."""
        if video.caption_count is None:
            return None
        # Another thread may drop what is known at any time.
        known = self._known.get(video.video_id)
        if known is not None and known[0] == video.updated_at:
            return known[1]
        try:
            cues = review_cues(
                stored_captions(parts.object_store, video),
                video.timeline,
                parts.settings.growing_captions,
            )
            shown = [cue for cue in cues if cue.standing != "removed"]
            left = LeftToReview(
                captions=sum(not cue.is_reviewed for cue in shown),
                doubtful=sum(bool(cue.doubts) for cue in shown),
                of=len(shown),
            )
        except CaptionAccError as error:
            # The page shows the other videos, and the next view tries again.
            _log.warning("video %s: its captions cannot be counted: %s", video.video_id, error)
            return None
        self._known[video.video_id] = (video.updated_at, left)
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return left


def video_view(video: VideoRow, left: LeftToReview | None) -> VideoView:
    """Return a video's row."""
    page = "layout" if left is None else "captions"
    return VideoView(
        id=video.video_id,
        name=video.display_path,
        link=f"/review/{video.video_id}/{page}",
        stages=[_stage_view(name, video.stage(name)) for name in STAGES],
        length="" if video.duration_seconds is None else clock(video.duration_seconds),
        left=left,
        error=video.error,
    )


def by_what_is_left(views: Sequence[VideoView]) -> list[VideoView]:
    """Return rows in the order of work: with doubtful captions, others to review or in work, the rest."""

    def rank(view: VideoView) -> int:
        if view.left is not None and view.left.doubtful:
            return 0
        return 1 if any(stage.kind in ("todo", "working") for stage in view.stages) else 2

    return sorted(views, key=rank)


def _stage_view(name: str, state: StageState) -> StageView:
    if state.run_id:
        return StageView(name, "working", "working", state.run_id)
    words = {
        "wait": ("waiting", "idle"),
        "annotate": ("to review", "todo"),
        "done": ("done", "done"),
        "error": ("failed", "failed"),
    }
    text, kind = words[state.status]
    return StageView(name, text, kind)
