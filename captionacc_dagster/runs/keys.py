"""Run keys: the attempt at a piece of work that a run was requested for.

Dagster creates one run per key and never a second one. So a key contains everything that may be requested
again: the version of the crop region and the number of the attempt. Two ticks that request the same attempt
build the same key.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from captionacc_dagster.resources.catalog import BackfillClaim, CaptionOcrRequest, LayoutApproval, VideoRow


@dataclass(frozen=True)
class LayoutKey:
    """An attempt at a video's layout."""

    video_id: str
    attempt: int

    def __str__(self) -> str:
        return f"layout/{self.video_id}/{self.attempt}"


@dataclass(frozen=True)
class CaptionsKey:
    """An attempt at the captions of one version of a video's crop region."""

    video_id: str
    crop_region_version: int
    attempt: int

    def __str__(self) -> str:
        return f"captions/{self.video_id}/{self.crop_region_version}/{self.attempt}"


@dataclass(frozen=True)
class TextKey:
    """An attempt at the text of captions that exist, for one version of a video's crop region."""

    video_id: str
    crop_region_version: int
    attempt: int

    def __str__(self) -> str:
        return f"text/{self.video_id}/{self.crop_region_version}/{self.attempt}"


@dataclass(frozen=True)
class RequestsKey:
    """An attempt at a video's requests to read captions again that were claimed together.

    ``request_id`` and ``attempt`` are those of the oldest one.
    """

    video_id: str
    request_id: str
    attempt: int

    def __str__(self) -> str:
        return f"request/{self.video_id}/{self.request_id}/{self.attempt}"


@dataclass(frozen=True)
class BackfillKey:
    """A video of a backfill, which is requested once: after a failure another backfill has to choose it."""

    backfill_id: str
    video_id: str

    def __str__(self) -> str:
        return f"backfill/{self.backfill_id}/{self.video_id}"


RunKey = LayoutKey | CaptionsKey | TextKey | RequestsKey | BackfillKey

_READERS: dict[str, Callable[..., RunKey]] = {
    "layout": lambda video_id, attempt: LayoutKey(video_id, int(attempt)),
    "captions": lambda video_id, version, attempt: CaptionsKey(video_id, int(version), int(attempt)),
    "text": lambda video_id, version, attempt: TextKey(video_id, int(version), int(attempt)),
    "request": lambda video_id, request_id, attempt: RequestsKey(video_id, request_id, int(attempt)),
    "backfill": BackfillKey,
}


def parse(text: str) -> RunKey | None:
    """Return the key that ``text`` spells, or None for any other text, such as another sensor's key."""
    kind, *parts = text.split("/")
    try:
        key = _READERS[kind](*parts)
    except (KeyError, TypeError, ValueError):
        return None
    return key if str(key) == text else None


def layout_run_key(video: VideoRow) -> str:
    """Return the key of the video's present attempt at its layout."""
    return str(LayoutKey(video.video_id, video.layout.attempts))


def captions_run_key(approval: LayoutApproval) -> str:
    """Return the key of the present attempt at an approved crop region's captions."""
    return str(CaptionsKey(approval.video_id, approval.crop_region_version, approval.attempt))


def text_run_key(video: VideoRow) -> str:
    """Return the key of the video's present attempt at its captions' text."""
    return str(TextKey(video.video_id, video.crop_region_version, video.text.attempts))


def requests_run_key(requests: Sequence[CaptionOcrRequest]) -> str:
    """Return the key of one video's requests, oldest first, that were claimed together."""
    oldest = requests[0]
    return str(RequestsKey(oldest.video_id, oldest.id, oldest.attempts))


def backfill_run_key(claim: BackfillClaim) -> str:
    """Return the key of a backfill's video."""
    return str(BackfillKey(claim.backfill_id, claim.video_id))
