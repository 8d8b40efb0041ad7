"""The agreement of extracted captions with the truth. All functions are pure: no video, no files.

A truth caption and an extracted one are *paired* one to one. The pair's temporal overlap (intersection over
union, IoU) classifies the truth caption: *found* at 0.8 or more, *mistimed* below, *missed* without a pair.
An extracted caption without a pair is *invented*.
"""

import re
import statistics
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from rapidfuzz import fuzz
from rapidfuzz.distance import Levenshtein

#: IoU from which a caption counts as found.
FOUND_IOU = 0.8
#: IoU below which two captions are unrelated: one is missed, the other invented.
PAIR_IOU = 0.2
#: Tolerance for both ends of a caption, in milliseconds.
END_TOLERANCE_MS = 100.0


@dataclass(frozen=True)
class Caption:
    """A caption on screen in ``[start_s, end_s)``, in seconds from the first frame."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True)
class Pair:
    """A truth caption and the extracted one that corresponds to it."""

    truth: Caption
    extracted: Caption

    @property
    def iou(self) -> float:
        return iou(self.truth, self.extracted)

    @property
    def start_error_ms(self) -> float:
        """The error of the start; positive if the extracted caption starts too late."""
        return (self.extracted.start_s - self.truth.start_s) * 1000

    @property
    def end_error_ms(self) -> float:
        """The error of the end; positive if the extracted caption ends too late."""
        return (self.extracted.end_s - self.truth.end_s) * 1000

    @property
    def text_is_exact(self) -> bool:
        return normalised(self.truth.text) == normalised(self.extracted.text)


@dataclass(frozen=True)
class Matching:
    """Pairs and the rest: each truth caption is paired or missed, each extracted one paired or invented."""

    pairs: list[Pair]
    missed: list[Caption]
    invented: list[Caption]


@dataclass(frozen=True)
class EndErrors:
    """Distances of one end from its truth over all pairs, in ms; 0 if there is no pair.

    ``bias`` is the signed median: positive if too late.
    """

    median: float
    p95: float
    largest: float
    bias: float


@dataclass(frozen=True)
class Quality:
    """The figures. ``truth = found + mistimed + missed``; ``exact_text`` and ``both_ends`` count pairs."""

    truth: int
    extracted: int
    found: int
    mistimed: int
    missed: int
    invented: int
    start_error_ms: EndErrors
    end_error_ms: EndErrors
    both_ends: int
    exact_text: int
    cer: float

    @property
    def found_share(self) -> float:
        return self.found / self.truth if self.truth else 1.0

    def to_json(self) -> dict[str, object]:
        return {**asdict(self), "found_share": self.found_share}


def normalised(text: str) -> str:
    """Normalise text for comparison: Unicode NFC, each run of white space or line breaks as one space."""
    return re.sub(r"\s+", " ", unicodedata.normalize("NFC", text)).strip()


def iou(a: Caption, b: Caption) -> float:
    """Return the time with both captions on screen divided by the time with either, 0 to 1."""
    both = min(a.end_s, b.end_s) - max(a.start_s, b.start_s)
    either = max(a.end_s, b.end_s) - min(a.start_s, b.start_s)
    # Rounded, so that the same two captions at another time fall on the same side of a threshold.
    return round(both / either, 9) if both > 0 else 0.0


def match(truth: Sequence[Caption], extracted: Sequence[Caption]) -> Matching:
    """Pair captions one to one so that most are found, and then overlap most.

    The result is the optimum over pairings that keep the order in time (captions of one band do not overlap,
    so that no other pairing is better), by dynamic programming over each group of captions that overlap one
    another. Text only decides between pairings of equal overlap.
    """
    matching = Matching([], [], [])
    for truths, others in _groups(truth, extracted):
        pairs = _aligned(truths, others)
        matching.pairs.extend(Pair(truths[i], others[j]) for i, j in pairs)
        paired_truths, paired_others = {i for i, _ in pairs}, {j for _, j in pairs}
        matching.missed.extend(c for i, c in enumerate(truths) if i not in paired_truths)
        matching.invented.extend(c for j, c in enumerate(others) if j not in paired_others)
    return matching


def _groups(
    truth: Sequence[Caption], extracted: Sequence[Caption]
) -> Iterator[tuple[list[Caption], list[Caption]]]:
    """Group captions chained by overlaps, in time order, which keeps the quadratic alignment small."""
    sides = [(0, c) for c in truth] + [(1, c) for c in extracted]
    sides.sort(key=lambda item: (item[1].start_s, item[1].end_s, item[1].text, item[0]))
    group: tuple[list[Caption], list[Caption]] = ([], [])
    until = float("-inf")
    for side, caption in sides:
        if caption.start_s >= until and (group[0] or group[1]):
            yield group
            group = ([], [])
        group[side].append(caption)
        until = max(until, caption.end_s)
    if group[0] or group[1]:
        yield group


def _aligned(truths: Sequence[Caption], others: Sequence[Caption]) -> list[tuple[int, int]]:
    rows, columns = len(truths), len(others)
    best = [[0.0] * (columns + 1) for _ in range(rows + 1)]
    worth = [[_worth(a, b) for b in others] for a in truths]
    for i in range(rows):
        for j in range(columns):
            paired = best[i][j] + worth[i][j] if worth[i][j] > 0 else 0.0
            best[i + 1][j + 1] = max(paired, best[i][j + 1], best[i + 1][j])
    pairs, i, j = [], rows, columns
    while i and j:
        if best[i][j] == best[i - 1][j]:
            i -= 1
        elif best[i][j] == best[i][j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            pairs.append((i, j))
    return pairs[::-1]


def _worth(truth: Caption, extracted: Caption) -> float:
    overlap = iou(truth, extracted)
    if overlap < PAIR_IOU:
        return 0.0
    alike = fuzz.ratio(normalised(truth.text), normalised(extracted.text)) / 100
    return (1_000_000 if overlap >= FOUND_IOU else 0) + overlap + 1e-6 * alike


def character_error_rate(matching: Matching) -> float:
    """Return the edits from the extracted text to the truth, divided by the truth's characters.

    It sums the Levenshtein distances of the pairs' normalised texts. Missed and invented captions count all
    their characters, so the rate can exceed 1.
    """
    edits = sum(
        Levenshtein.distance(normalised(p.truth.text), normalised(p.extracted.text)) for p in matching.pairs
    )
    edits += sum(len(normalised(c.text)) for c in [*matching.missed, *matching.invented])
    characters = sum(len(normalised(c.text)) for c in [*(p.truth for p in matching.pairs), *matching.missed])
    return edits / max(1, characters)


def evaluate(truth: Sequence[Caption], extracted: Sequence[Caption]) -> Quality:
    """Return all figures of one video."""
    return figures(match(truth, extracted))


def figures(matching: Matching) -> Quality:
    """Return the figures of a matching."""
    pairs, missed, invented = matching.pairs, len(matching.missed), len(matching.invented)
    found = sum(pair.iou >= FOUND_IOU for pair in pairs)
    # Times are multiples of a frame's length in binary fractions: allow for rounding in the last digit.
    tolerance = END_TOLERANCE_MS + 1e-6
    return Quality(
        truth=len(pairs) + missed,
        extracted=len(pairs) + invented,
        found=found,
        mistimed=len(pairs) - found,
        missed=missed,
        invented=invented,
        start_error_ms=_end_errors([pair.start_error_ms for pair in pairs]),
        end_error_ms=_end_errors([pair.end_error_ms for pair in pairs]),
        both_ends=sum(
            abs(pair.start_error_ms) <= tolerance and abs(pair.end_error_ms) <= tolerance for pair in pairs
        ),
        exact_text=sum(pair.text_is_exact for pair in pairs),
        cer=character_error_rate(matching),
    )


def _end_errors(errors: Sequence[float]) -> EndErrors:
    if not errors:
        return EndErrors(0.0, 0.0, 0.0, 0.0)
    sizes = sorted(abs(error) for error in errors)
    return EndErrors(
        median=statistics.median(sizes),
        p95=_percentile(sizes, 0.95),
        largest=sizes[-1],
        bias=statistics.median(errors),
    )


def _percentile(ascending: Sequence[float], share: float) -> float:
    """Interpolate linearly between the two nearest ranks."""
    place = share * (len(ascending) - 1)
    below = int(place)
    above = min(below + 1, len(ascending) - 1)
    return ascending[below] + (place - below) * (ascending[above] - ascending[below])
