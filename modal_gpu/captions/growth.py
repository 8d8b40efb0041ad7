"""Growing captions: those that appear word by word, or line by line, become one cue a sentence or line.

``captions.db`` holds the *states*: each picture of the caption is a row. On the way to subtitles, states in
direct succession are folded if the later one continues the earlier one:

* it grows: the earlier text begins the later one ("Good", "Good evening"). The cue has the last text, from
  the first word to the end;
* it rolls up: the last lines of the earlier text are the first lines of the later one. Each line is a cue,
  from its first appearance until it leaves, so the cues of neighbouring lines overlap.

A caption whose extents a person confirmed is a cue of its own. Words that replace each other stay apart.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

from modal_gpu.captions.reconcile import comparable, may_be_one_text
from modal_gpu.databases.captions import Caption

#: What becomes of growing captions: one cue, or one for each state.
Growing = Literal["fold", "keep"]
#: A state of at most this many frames is too short to be read alone: it may end inside a word.
BRIEF_FRAMES = 6
#: Below this confidence of OCR, readings of the same text may differ in a few characters.
SURE_READING = 0.95
#: Similarity (0 to 100) of two readings of one text, and the shortest text that may differ at all.
SAME_SIMILARITY, LEAST_LENGTH = 85.0, 6
#: Characters that a text gains at least if its beginning was read differently.
LEAST_GROWTH = 2
#: Characters of a text with two words or more that may be cut inside a word.
LONG_START = 8
#: Scripts without spaces between words: Thai to Khmer, Han, kana and their punctuation.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef]"
)


@dataclass(frozen=True)
class Cue:
    """One caption as viewers see it.

    ``caption`` has its range, times and text; its id is that of one of the ``states``, the rows of
    captions.db that it was folded from, in their order. ``lines`` are the places ``[first, end)`` of its
    lines in each state's text, without blank lines. Cues of one ``roll`` overlap; 0: the cue did not roll.
    """

    caption: Caption
    states: tuple[Caption, ...]
    lines: tuple[tuple[int, int], ...]
    roll: int = 0

    @property
    def is_folded(self) -> bool:
        """True if the cue is not simply one row of captions.db."""
        return len(self.states) > 1 or self.roll > 0


def text_lines(text: str) -> list[str]:
    """Return the lines of a text, stripped, without blank ones."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def single(caption: Caption) -> Cue:
    """Return the cue of a caption that is not folded."""
    return Cue(caption, (caption,), ((0, len(text_lines(caption.best_text))),))


def cues(captions: Iterable[Caption], growing: Growing = "fold") -> list[Cue]:
    """Return the cues of the captions that viewers see, sorted by start; each shown state is in at least one.

    Folding loses no time: the cues cover the same frames as the states.
    """
    states = sorted((c for c in captions if c.is_shown), key=lambda c: (c.zone, c.start_index, c.end_index))
    found: list[Cue] = []
    chains = _chains(states) if growing == "fold" else ([state] for state in states)
    for number, chain in enumerate(chains, 1):
        found += [single(chain[0])] if len(chain) == 1 else _folded(chain, number)
    while growing == "fold" and len(joined := _grown_again(found)) < len(found):
        found = joined
    return sorted(found, key=lambda cue: (cue.caption.start_index, cue.caption.end_index))


def _grown_again(found: Sequence[Cue]) -> list[Cue]:
    """Return the cues, those joined whose finished texts continue each other."""
    result: list[Cue] = []
    for cue in found:
        if result and not result[-1].roll and not cue.roll and _are_adjacent(result[-1].caption, cue.caption):
            first, second = result[-1].caption, cue.caption
            step = _rolled(first, second)
            if (step is not None and not step.left) or (step is None and _grew(first, second)):
                before = result.pop()
                caption = _spanning((first, second), second.best_text, second)
                cue = Cue(caption, before.states + cue.states, before.lines + cue.lines)
        result.append(cue)
    return result


def _chains(states: Sequence[Caption]) -> Iterator[list[Caption]]:
    """Yield runs of states in which each continues the one before.

    A run that rolls up is followed line by line, so it has no sentence that was wrapped again as it grew.
    """
    chain: list[Caption] = []
    rolls = wraps = False
    for state in states:
        if chain and _are_adjacent(chain[-1], state):
            step = _rolled(chain[-1], state)
            if step is not None and not (step.left and wraps):
                chain.append(state)
                rolls = rolls or step.left > 0
                continue
            if not rolls and _grew(chain[-1], state):
                chain.append(state)
                wraps = True
                continue
        if chain:
            yield chain
        chain, rolls, wraps = [state], False, False
    if chain:
        yield chain


def _are_adjacent(first: Caption, second: Caption) -> bool:
    confirmed = "confirmed" in (first.state, second.state)
    return not confirmed and first.zone == second.zone and first.end_index == second.start_index


def _grew(first: Caption, second: Caption) -> bool:
    """Return whether the first text begins the second one, wherever its lines break."""
    before, after = (" ".join(text_lines(caption.best_text)) for caption in (first, second))
    return _begins(before, after, first, second, within_words=False)


@dataclass(frozen=True)
class _Step:
    """The change from one state to the next: how many lines left, and whether the last other one grew."""

    left: int
    grew: bool


def _rolled(first: Caption, second: Caption) -> _Step | None:
    """Return how the first text's lines go on in the second one, where others may follow them.

    None if the texts do not continue each other line by line.
    """
    before, after = text_lines(first.best_text), text_lines(second.best_text)
    for left in range(len(before)):
        stay = before[left:]
        if len(stay) > len(after) or not all(
            _is_same(one, other, first, second) for one, other in zip(stay[:-1], after, strict=False)
        ):
            continue
        last, now = stay[-1], after[len(stay) - 1]
        if _is_same(last, now, first, second):
            # Nothing grew or left: only the very same text is one caption; "Jim" and "Tim" are two.
            stands = left == 0 and len(after) == len(stay)
            return None if stands and not _is_equal(before, after) else _Step(left, False)
        if _begins(last, now, first, second, within_words=len(stay) > 1):
            return _Step(left, True)
    return None


def _may_differ(first: Caption, second: Caption) -> bool:
    """Return whether OCR may have read one text differently in two states."""
    return min(first.ocr_confidence or 0, second.ocr_confidence or 0) < SURE_READING


def _length(caption: Caption) -> int:
    return caption.end_index - caption.start_index


def _is_same(one: str, other: str, first: Caption, second: Caption) -> bool:
    """Return whether two lines are readings of the same text."""
    one, other = comparable(one), comparable(other)
    if one == other:
        return True
    enough = min(len(one), len(other)) >= LEAST_LENGTH and _may_differ(first, second)
    return enough and may_be_one_text(one, other, SAME_SIMILARITY)


def _is_equal(before: Sequence[str], after: Sequence[str]) -> bool:
    return [comparable(line) for line in before] == [comparable(line) for line in after]


def _begins(start: str, text: str, first: Caption, second: Caption, *, within_words: bool) -> bool:
    """Return whether ``text`` is ``start`` and more.

    ``start`` ends with a word, anywhere in scripts without spaces, and inside a word if ``first`` is brief:
    then ``start`` is long, or ``within_words``, since "a" and "and" are likely to be two words.
    """
    begun = comparable(start)
    long = " " in start and len(begun) >= LONG_START
    inside = _length(first) <= BRIEF_FRAMES and (within_words or long)
    ends = [text[:place] for place in range(1, len(text)) if _may_end(text, place, inside)]
    near = [end for end in ends if abs(len(comparable(end)) - len(begun)) <= max(1, len(begun) // 8)]
    if any(comparable(end) == begun for end in near):
        return bool(begun)
    # A text of the same length is another one, read alike: "Jim is late.", "Tim is late."
    grown = len(comparable(text)) >= len(begun) + LEAST_GROWTH
    return grown and any(_is_same(start, end, first, second) for end in near)


def _may_end(text: str, place: int, inside: bool) -> bool:
    """Return whether a state may show ``text`` up to ``place`` only; never the first digits of a number."""
    before, after = text[place - 1], text[place]
    if before.isspace() or (before.isdigit() and after.isdigit()):
        return False
    return inside or after.isspace() or bool(_UNSPACED.match(before) and _UNSPACED.match(after))


#: The reading of a line in one state.
_Reading = tuple[Caption, str]


@dataclass
class _Roll:
    """Lines that appeared together in a rolling chain: the states that show them, and where.

    ``readings`` are those of each line since it was complete.
    """

    states: list[Caption] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)
    readings: list[list[_Reading]] = field(default_factory=list)

    def see(self, state: Caption, place: int, line: int, text: str) -> None:
        """Add a state's reading of a line, which stands at ``place`` in the state's text."""
        if not self.states or self.states[-1] is not state:
            self.states.append(state)
            self.places.append((place, place))
        self.places[-1] = (self.places[-1][0], place + 1)
        self.readings[line].append((state, text))

    @property
    def text(self) -> str:
        """The most confident reading of each line; a person's first."""
        best = [max(reading, key=_preference)[1] for reading in self.readings]
        return "\n".join(best)


def _preference(reading: _Reading) -> tuple[bool, float]:
    state, _ = reading
    return state.text is not None, state.ocr_confidence or 0


def _folded(chain: Sequence[Caption], number: int) -> list[Cue]:
    """Return the cues of at least two states that continue each other."""
    steps = [_rolled(first, second) for first, second in pairwise(chain)]
    if not any(step and step.left for step in steps):
        places = tuple((0, len(text_lines(state.best_text))) for state in chain)
        return [Cue(_spanning(chain, chain[-1].best_text, chain[-1]), tuple(chain), places)]
    rolls: list[_Roll] = []
    #: The lines that the current state shows: their roll, and their number in it.
    showing: list[tuple[_Roll, int]] = []
    for state, step in zip(chain, [None, *steps], strict=True):
        if step is not None:
            showing = showing[step.left :]
            if step.grew:
                roll, line = showing[-1]
                roll.readings[line].clear()
        texts = text_lines(state.best_text)
        if fresh := len(texts) - len(showing):
            rolls.append(_Roll(readings=[[] for _ in range(fresh)]))
            showing += [(rolls[-1], line) for line in range(fresh)]
        for place, ((roll, line), text) in enumerate(zip(showing, texts, strict=True)):
            roll.see(state, place, line, text)
    return [
        Cue(_spanning(roll.states, roll.text, roll.states[0]), tuple(roll.states), tuple(roll.places), number)
        for roll in rolls
    ]


def _spanning(states: Sequence[Caption], text: str, home: Caption) -> Caption:
    """Return ``home`` with the range of all states and the text; a person's if one of the texts is."""
    persons = any(state.text is not None for state in states)
    confidences = [state.confidence for state in states if state.confidence is not None]
    readings = [state.ocr_confidence for state in states if state.ocr_confidence is not None]
    spanning = replace(
        home,
        start_index=states[0].start_index,
        start_seconds=states[0].start_seconds,
        end_index=states[-1].end_index,
        end_seconds=states[-1].end_seconds,
        confidence=min(confidences, default=None),
        pending=any(state.pending for state in states),
        ocr_confidence=home.ocr_confidence if len(readings) < len(states) else max(readings),
    )
    return replace(spanning, text=text) if persons else replace(spanning, ocr_text=text)
