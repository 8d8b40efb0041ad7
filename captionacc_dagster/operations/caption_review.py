"""A reviewer's edits of captions: each names the captions, and the versions of them, that it was made on.

Several edits are made under one lease. An edit of a caption that has changed since is not made: the outcome
has the caption as it is now, so that a person can choose.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from captionacc_dagster.operations.caption_edits import rewrite_captions
from captionacc_dagster.resources.catalog import Catalog, VideoRow
from modal_gpu.captions import single_edits
from modal_gpu.captions.edits import Change, EditError, Footage, Wanted, apply, same_text, same_times
from modal_gpu.captions.growth import Growing
from modal_gpu.captions.reviewing import ReviewCue, review_cues
from modal_gpu.captions.subtitles import TimedCue
from modal_gpu.databases.captions import Caption
from modal_gpu.storage import ObjectStore

#: Most edits of one request.
MOST_EDITS = 500
#: Longest wait for the lock: a page that is refused tries again, and keeps the edits.
WAIT_SECONDS = 2.0


@dataclass(frozen=True)
class Target:
    """A caption as it was read. ``version``: of :class:`~modal_gpu.captions.reviewing.ReviewCue`."""

    id: int
    version: str


#: Makes a change of the captions that an edit names, in its order, among all captions.
Make = Callable[[Sequence[TimedCue], Sequence[TimedCue]], Change]


@dataclass(frozen=True)
class Edit:
    """A change to make of some captions, if they are as they were read."""

    targets: tuple[Target, ...]
    make: Make = field(compare=False)


@dataclass(frozen=True)
class Outcome:
    """The result of an edit.

    ``current`` has the named captions as they are after a ``conflict``; ``None``: the caption is gone.
    ``made`` has the ids of the captions in the place of those named. ``message`` says why an edit was
    ``refused``.
    """

    status: Literal["done", "conflict", "refused"]
    made: tuple[int, ...] = ()
    current: Mapping[int, ReviewCue | None] = field(default_factory=dict)
    message: str = ""


@dataclass(frozen=True)
class Comparison:
    """The captions before and after edits, as a reviewer sees them."""

    before: Sequence[ReviewCue]
    after: Sequence[ReviewCue]

    @cached_property
    def versions(self) -> Mapping[int, str]:
        """The version that each caption had before, by its id."""
        return {cue.id: cue.version for cue in self.before}

    @property
    def changed(self) -> list[ReviewCue]:
        """The captions that are new or not as they were."""
        return [cue for cue in self.after if self.versions.get(cue.id) != cue.version]

    @property
    def gone(self) -> list[int]:
        """The ids of captions that are there no more."""
        there = {cue.id for cue in self.after}
        return [number for number in self.versions if number not in there]


@dataclass(frozen=True)
class Reviewed(Comparison):
    """The outcomes of edits in their order, and all captions that they changed."""

    outcomes: Sequence[Outcome]
    is_written: bool


def set_caption(
    text: str | None = None,
    start: int | None = None,
    end: int | None = None,
    *,
    zone: int | None = None,
    reviewed: bool = True,
) -> Make:
    """Return the change of text, times (a player's milliseconds) or zone; ``None`` keeps each.

    An empty text removes the caption. Without any of them, the caption is confirmed as it is. The change
    raises :class:`EditError` for a caption that was never read, without ``text``.
    """

    def make(_: Sequence[TimedCue], named: Sequence[TimedCue]) -> Change:
        (cue,) = named
        if text is None and cue.caption.text is None and not cue.caption.best_text.strip():
            raise _never_read(cue)
        best = cue.caption.best_text if text is None else text
        if not best.strip():
            return Change((cue,), ())
        wanted = Wanted(
            cue.start if start is None else start, cue.end if end is None else end, best, zone, reviewed
        )
        return Change((cue,), (wanted,))

    return make


def split_caption(at: int, texts: tuple[str, str] | None) -> Make:
    """Return the change that divides a caption at a player's millisecond."""
    return lambda _, named: single_edits.split(named[0], at, texts)


def merge_captions(text: str | None) -> Make:
    """Return the change that joins the named captions, between which there are no others."""
    return lambda cues, named: single_edits.merge_in_succession(cues, named, text)


def remove_caption() -> Make:
    """Return the change that removes a caption."""
    return lambda _, named: Change((named[0],), ())


def restore_caption(text: str | None) -> Make:
    """Return the change that brings a removed caption back, with what OCR read or with ``text``."""

    def make(_: Sequence[TimedCue], named: Sequence[TimedCue]) -> Change:
        (cue,) = named
        back = text if text is not None else cue.caption.best_text or cue.caption.ocr_text or ""
        if not back.strip():
            raise _never_read(cue)
        return Change((cue,), (Wanted(cue.start, cue.end, back),))

    return make


def _never_read(cue: TimedCue) -> EditError:
    return EditError(f"caption {cue.caption.id} was never read: give its text")


def replace_captions(wanted: Sequence[Wanted]) -> Make:
    """Return the change of the named captions into ``wanted``, which may be any number if one is named.

    None may be named if a caption is added.
    """

    def make(_: Sequence[TimedCue], named: Sequence[TimedCue]) -> Change:
        if len(named) > 1 and len(wanted) > 1:
            raise EditError("replace one caption by several, or several by one")
        if not named and len(wanted) != 1:
            raise EditError("add one caption at a time")
        if not all(one.text.strip() for one in wanted):
            raise EditError("a caption needs a text")
        return Change(tuple(named), tuple(wanted))

    return make


def review_captions(
    catalog: Catalog,
    object_store: ObjectStore,
    video: VideoRow,
    edits: Sequence[Edit],
    *,
    owner: str,
    growing: Growing,
    wait_seconds: float = WAIT_SECONDS,
) -> Reviewed:
    """Make the edits that can be made, each by itself, and publish the captions once.

    Raises ``CaptionsMissingError``, ``WrongStateError`` before the video's layout is done, and
    ``LockHeldError`` if a run or another person holds the lock for ``wait_seconds``; nothing is changed then.
    """
    outcomes: list[Outcome] = []

    def rewrite(before: Sequence[Caption], footage: Footage) -> Sequence[Caption]:
        outcomes[:], after = _made(before, edits, footage)
        return after

    written = rewrite_captions(
        catalog,
        object_store,
        video,
        rewrite,
        owner=owner,
        growing=growing,
        wait_seconds=wait_seconds,
    )
    before, after = (
        review_cues(captions, written.video.timeline, growing) for captions in (written.before, written.after)
    )
    return Reviewed(before, after, outcomes, written.is_written)


def _made(
    before: Sequence[Caption], edits: Sequence[Edit], footage: Footage
) -> tuple[list[Outcome], Sequence[Caption]]:
    """Return the outcome of each edit, and the captions after those that could be made."""
    together = _all_at_once(before, edits, footage)
    if together is not None:
        return together
    captions, outcomes = before, []
    for edit in edits:
        outcome, captions = _one(captions, edit, footage)
        outcomes.append(outcome)
    return outcomes, captions


def _all_at_once(
    before: Sequence[Caption], edits: Sequence[Edit], footage: Footage
) -> tuple[list[Outcome], Sequence[Caption]] | None:
    """Return what :func:`_made` does if no edit depends on another; many are much faster.

    Return ``None`` if one adds, splits, merges or is refused.
    """
    ids = [target.id for edit in edits for target in edit.targets]
    if len(edits) < 2 or len(set(ids)) < len(ids) or any(len(edit.targets) != 1 for edit in edits):
        return None
    cues = review_cues(before, footage.timeline, footage.growing)
    timed = [cue.timed for cue in cues]
    outcomes, changes = [], []
    try:
        for edit in edits:
            named = _named(cues, edit)
            if isinstance(named, Outcome):
                outcomes.append(_sent_again(before, cues, edit, footage) or named)
                continue
            change = edit.make(timed, [cue.timed for cue in named])
            if len(change.after) > 1:
                # What makes ids is made one at a time.
                return None
            changes.append(change)
            outcomes.append(Outcome("done", (change.before[0].caption.id,)))
        return outcomes, apply(before, changes, footage)
    except EditError:
        return None


def _one(captions: Sequence[Caption], edit: Edit, footage: Footage) -> tuple[Outcome, Sequence[Caption]]:
    cues = review_cues(captions, footage.timeline, footage.growing)
    named = _named(cues, edit)
    if isinstance(named, Outcome):
        return _sent_again(captions, cues, edit, footage) or named, captions
    try:
        change = edit.make([cue.timed for cue in cues if cue.standing == "shown"], [c.timed for c in named])
        after = apply(captions, [change], footage)
    except EditError as error:
        refused = Outcome("refused", message=str(error))
        return _sent_again(captions, cues, edit, footage) or refused, captions
    kept = change.before[0].caption.id if change.before else None
    earlier = {caption.id for caption in captions}
    # Ids are given in the order of what is wanted, before those of captions that lose lines.
    new = sorted(caption.id for caption in after if caption.id not in earlier)
    ids = ([] if kept is None else [kept]) + new
    return Outcome("done", tuple(ids[: max(len(change.before[:1]), len(change.after))])), after


def _sent_again(
    captions: Sequence[Caption], cues: Sequence[ReviewCue], edit: Edit, footage: Footage
) -> Outcome | None:
    """Return the outcome of an edit that changes nothing: its answer was lost, or another made the same."""
    by_id = {cue.id: cue for cue in cues}
    named = [by_id[target.id] for target in edit.targets if target.id in by_id]
    if edit.targets and (len(named) != 1 or named[0].id != edit.targets[0].id):
        # The first one stays in every edit, and a merge leaves no other.
        return None
    shown = [cue for cue in cues if cue.standing == "shown"]
    try:
        change = edit.make([cue.timed for cue in shown], [cue.timed for cue in named])
        if named and len(change.after) < 2:
            is_made = apply(captions, [change], footage) == list(captions)
            return Outcome("done", (named[0].id,)) if is_made else None
    except EditError:
        return None
    found = [next((cue for cue in shown if _is_as(cue, one)), None) for one in change.after]
    made = tuple(cue.id for cue in found if cue is not None)
    return Outcome("done", made) if len(made) == len(found) else None


def _is_as(cue: ReviewCue, wanted: Wanted) -> bool:
    """Return whether a caption is as a person wants a new one."""
    return (
        same_times(cue.timed, wanted)
        and same_text(cue.caption.best_text, wanted.text)
        and wanted.zone in (None, cue.caption.zone)
        and cue.is_reviewed == wanted.reviewed
    )


def _named(cues: Sequence[ReviewCue], edit: Edit) -> list[ReviewCue] | Outcome:
    """Return the captions that an edit names, or the conflict."""
    by_id = {cue.id: cue for cue in cues}
    found = [by_id.get(target.id) for target in edit.targets]
    same = [
        cue is not None and cue.version == target.version
        for cue, target in zip(found, edit.targets, strict=True)
    ]
    if not all(same):
        current = {target.id: by_id.get(target.id) for target in edit.targets}
        return Outcome("conflict", current=current)
    return [cue for cue in found if cue is not None]
