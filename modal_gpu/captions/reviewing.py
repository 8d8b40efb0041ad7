"""Captions as a reviewer sees them: shown, still without text, or removed; each with a version.

The version is a digest of what the reviewer saw. An edit names the version that it was made on, so that an
edit of a caption that has changed since is noticed.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from modal_gpu.captions.growth import SURE_READING, Growing, single
from modal_gpu.captions.merging import REVIEW_BELOW
from modal_gpu.captions.subtitles import UNCHANGED, TimedCue, timed_cues
from modal_gpu.databases.captions import Caption
from modal_gpu.timeline import Timeline

#: ``shown`` in subtitles; ``unread``: without text, until OCR or a person has read it; ``removed`` by a
#: person.
Standing = Literal["shown", "unread", "removed"]
#: Why a caption is doubtful.
Doubt = Literal["not read", "text uncertain", "times uncertain"]


@dataclass(frozen=True)
class ReviewCue:
    """A caption with a player's times, and its standing."""

    timed: TimedCue
    standing: Standing

    @property
    def caption(self) -> Caption:
        """The caption's text and range."""
        return self.timed.caption

    @property
    def id(self) -> int:
        """The caption's id in captions.db; that of one of its states if it was folded."""
        return self.caption.id

    @property
    def is_reviewed(self) -> bool:
        """True if a person confirmed or removed the caption."""
        return self.standing == "removed" or self.caption.state == "confirmed"

    @property
    def doubts(self) -> tuple[Doubt, ...]:
        """The reasons to look at the caption; none once it is reviewed."""
        if self.is_reviewed:
            return ()
        found: list[Doubt] = []
        if self.standing == "unread":
            found.append("not read")
        elif self.caption.text is None and (self.caption.ocr_confidence or 0.0) < SURE_READING:
            found.append("text uncertain")
        # Not `pending` alone: a person's edit that is not confirmed, or undone, makes a sure caption pending.
        sure = self.caption.confidence is None or self.caption.confidence >= REVIEW_BELOW
        if self.caption.pending and not sure:
            found.append("times uncertain")
        return tuple(found)

    @property
    def certainty(self) -> float:
        """The lower of the confidences in text and times, 0 to 1; a caption that is reviewed has 1."""
        if self.is_reviewed:
            return 1.0
        caption = self.caption
        text = 1.0 if caption.text is not None else caption.ocr_confidence or 0.0
        return min(text, 1.0 if caption.confidence is None else caption.confidence)

    @cached_property
    def version(self) -> str:
        """A digest of times, text, zone and standing: 16 hexadecimal digits."""
        caption = self.caption
        seen = [
            caption.id,
            self.timed.start,
            self.timed.end,
            caption.best_text,
            caption.zone,
            caption.state,
            self.standing,
            [state.id for state in self.timed.cue.states],
        ]
        return hashlib.blake2b(json.dumps(seen).encode(), digest_size=8).hexdigest()


def review_cues(
    captions: Sequence[Caption], timeline: Timeline = UNCHANGED, growing: Growing = "fold"
) -> list[ReviewCue]:
    """Return all captions that a reviewer may act on, sorted by time."""
    shown = timed_cues(captions, timeline, growing)
    found = [ReviewCue(cue, "shown") for cue in shown]
    found += [
        ReviewCue(_timed(caption, timeline), _hidden_standing(caption))
        for caption in captions
        if not caption.best_text.strip() or caption.state == "gap"
    ]
    return sorted(found, key=lambda one: (one.timed.start, one.timed.end, one.id))


def _hidden_standing(caption: Caption) -> Standing:
    return "removed" if caption.state == "gap" or caption.text is not None else "unread"


def _timed(caption: Caption, timeline: Timeline) -> TimedCue:
    return TimedCue(
        round(timeline.start(caption.start_seconds, caption.start_index) * 1000),
        round(timeline.end(caption.end_seconds, caption.end_index) * 1000),
        single(caption),
    )


def most_doubtful_first(cues: Iterable[ReviewCue]) -> list[ReviewCue]:
    """Return the captions that are not reviewed first, the most doubtful of them before the others."""
    return sorted(cues, key=lambda one: (one.is_reviewed, not one.doubts, one.certainty, one.timed.start))
