"""A reviewer's edits of captions: each names the captions, and the versions of them, that it was made on.

Several edits are made under one lease. An edit of a caption that has changed since is not made: the outcome
has the caption as it is now, so that a person can choose.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from captionacc_dagster.operations.caption_edits import Rewritten, rewrite_captions
from captionacc_dagster.resources.catalog import Catalog, VideoRow
from modal_gpu.captions import single_edits
from modal_gpu.captions.edits import Change, EditError, Footage, Wanted, apply
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
class Reviewed:
    """The outcomes of edits in their order, and all captions that they changed.

    ``before`` has the version that each caption had, by its id.
    """

    outcomes: Sequence[Outcome]
    before: Mapping[int, str]
    changed: Sequence[ReviewCue]
    gone: Sequence[int]
    captions: Sequence[ReviewCue]
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

    An empty text removes the caption. Without any of them, the caption is confirmed as it is.
    """

    def make(_: Sequence[TimedCue], named: Sequence[TimedCue]) -> Change:
        (cue,) = named
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
            raise EditError(f"caption {cue.caption.id} was never read: give its text")
        return Change((cue,), (Wanted(cue.start, cue.end, back),))

    return make


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
    return _reviewed(outcomes, written, growing)


def _reviewed(outcomes: Sequence[Outcome], written: Rewritten, growing: Growing) -> Reviewed:
    timeline = written.video.timeline
    before = {cue.id: cue.version for cue in review_cues(written.before, timeline, growing)}
    after = review_cues(written.after, timeline, growing)
    there = {cue.id for cue in after}
    return Reviewed(
        outcomes=outcomes,
        before=before,
        changed=[cue for cue in after if before.get(cue.id) != cue.version],
        gone=[number for number in before if number not in there],
        captions=after,
        is_written=written.is_written,
    )


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
    """Return what :func:`_made` does if no edit depends on another and none fails; many are much faster."""
    named = [target.id for edit in edits for target in edit.targets]
    if len(edits) < 2 or len(set(named)) < len(named):
        return None
    cues = review_cues(before, footage.timeline, footage.growing)
    found = [_named(cues, edit) for edit in edits]
    if any(isinstance(one, Outcome) for one in found):
        return None
    timed = [cue.timed for cue in cues]
    try:
        changes = [
            edit.make(timed, [cue.timed for cue in one])
            for edit, one in zip(edits, found, strict=True)
            if not isinstance(one, Outcome)
        ]
        if any(len(change.before) != 1 or len(change.after) > 1 for change in changes):
            # What splits, merges and adds makes ids: one at a time.
            return None
        after = apply(before, changes, footage)
    except EditError:
        return None
    return [Outcome("done", (change.before[0].caption.id,)) for change in changes], after


def _one(captions: Sequence[Caption], edit: Edit, footage: Footage) -> tuple[Outcome, Sequence[Caption]]:
    cues = review_cues(captions, footage.timeline, footage.growing)
    named = _named(cues, edit)
    if isinstance(named, Outcome):
        if _is_there(captions, edit, named, footage):
            return Outcome("done", tuple(named.current)), captions
        return named, captions
    try:
        change = edit.make([cue.timed for cue in cues if cue.standing == "shown"], [c.timed for c in named])
        after = apply(captions, [change], footage)
    except EditError as error:
        return Outcome("refused", message=str(error)), captions
    kept = change.before[0].caption.id if change.before else None
    earlier = {caption.id for caption in captions}
    # Ids are given in the order of what is wanted, before those of captions that lose lines.
    new = sorted(caption.id for caption in after if caption.id not in earlier)
    ids = ([] if kept is None else [kept]) + new
    return Outcome("done", tuple(ids[: max(len(change.before[:1]), len(change.after))])), after


def _is_there(captions: Sequence[Caption], edit: Edit, conflict: Outcome, footage: Footage) -> bool:
    """Return whether the edit changes nothing: it was made, and its answer was lost, or another made it."""
    current = [cue.timed for cue in conflict.current.values() if cue is not None]
    if len(current) != 1 or len(edit.targets) != 1:
        return False
    try:
        return apply(captions, [edit.make(current, current)], footage) == list(captions)
    except EditError:
        return False


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
