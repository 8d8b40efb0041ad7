"""Edits of one caption, or of a few: what a command or a click asks for.

Each function returns a change, which :func:`modal_gpu.captions.edits.apply` makes.
"""

from collections.abc import Sequence
from itertools import pairwise

from modal_gpu.captions.edits import Change, EditError, Wanted, clock
from modal_gpu.captions.growth import text_lines
from modal_gpu.captions.subtitles import TimedCue


def find(cues: Sequence[TimedCue], caption_id: int) -> TimedCue:
    """Return the cue with this id, or the only one that was folded from the row with this id.

    Raises :class:`EditError` if there is none.
    """
    by_id = [cue for cue in cues if cue.caption.id == caption_id]
    found = by_id or [cue for cue in cues if any(state.id == caption_id for state in cue.cue.states)]
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(str(cue.caption.id) for cue in found)
        raise EditError(f"caption {caption_id} is shown as several lines: name one of {ids}")
    raise EditError(f"there is no caption {caption_id}: `captionacc captions VIDEO` shows the ids")


def set_caption(cue: TimedCue, text: str | None, start: int | None, end: int | None) -> Change:
    """Return the change of a caption's text or times; ``None`` keeps them. An empty text removes it."""
    if text is not None and not text.strip():
        return Change((cue,), ())
    wanted = Wanted(
        cue.start if start is None else start,
        cue.end if end is None else end,
        cue.caption.best_text if text is None else text,
    )
    return Change((cue,), (wanted,))


def confirm(cue: TimedCue) -> Change:
    """Return the change that confirms a caption as it is."""
    return set_caption(cue, None, None, None)


def shift(cue: TimedCue, milliseconds: int) -> Change:
    """Return the change that moves a caption; later for a positive number."""
    return set_caption(cue, None, cue.start + milliseconds, cue.end + milliseconds)


def split(cue: TimedCue, at: int, texts: tuple[str, str] | None = None) -> Change:
    """Return the change that makes two captions of one.

    Without ``texts``, the text is divided at the line break, else at the space, that is nearest to the same
    share of the text. Raises :class:`EditError` if ``at`` is not inside the caption, or a part has no text.
    """
    if not cue.start < at < cue.end:
        raise EditError(
            f"{clock(at)} is not inside caption {cue.caption.id}, {clock(cue.start)} to {clock(cue.end)}"
        )
    share = (at - cue.start) / (cue.end - cue.start)
    first, second = texts or _halves("\n".join(text_lines(cue.caption.best_text)), share)
    if not (first.strip() and second.strip()):
        raise EditError(f"a part of caption {cue.caption.id} has no text: give both texts")
    return Change((cue,), (Wanted(cue.start, at, first), Wanted(at, cue.end, second)))


def _halves(text: str, share: float) -> tuple[str, str]:
    for separator in ("\n", " "):
        places = [place for place, character in enumerate(text) if character == separator]
        if places:
            best = min(places, key=lambda place: abs(place - share * len(text)))
            return text[:best], text[best + 1 :]
    middle = max(1, round(share * len(text)))
    return text[:middle], text[middle:]


def merge(cues: Sequence[TimedCue], text: str | None = None) -> Change:
    """Return the change that makes one caption of several in direct succession, a line each.

    Raises :class:`EditError` for fewer than two, and for captions of two zones.
    """
    ordered = sorted(cues, key=lambda cue: (cue.start, cue.end))
    if len({cue.caption.id for cue in ordered}) < max(2, len(ordered)):
        raise EditError("give at least two different captions to merge")
    if any(one.caption.zone != other.caption.zone for one, other in pairwise(ordered)):
        raise EditError("captions of different zones cannot be merged")
    joined = "\n".join(line for cue in ordered for line in text_lines(cue.caption.best_text))
    end = max(cue.end for cue in ordered)
    return Change(tuple(ordered), (Wanted(ordered[0].start, end, joined if text is None else text),))


def merge_in_succession(cues: Sequence[TimedCue], chosen: Sequence[TimedCue], text: str | None) -> Change:
    """Return the change of :func:`merge` for ``chosen``, with none of the other ``cues`` between them.

    Raises :class:`EditError` if there is one, of the same zone.
    """
    change = merge(chosen, text)
    between = [
        cue
        for cue in cues
        if cue not in change.before
        and cue.caption.zone == chosen[0].caption.zone
        and change.before[0].start < cue.start < change.before[-1].start
    ]
    if between:
        ids = ", ".join(str(cue.caption.id) for cue in between)
        raise EditError(
            f"between these captions are others: {ids}; merge them too, or none. Nothing was changed."
        )
    return change
