"""Scores of predictors of extents: captions found with both ends right, and the labels of pairs."""

import itertools
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from modal_gpu.extents.decoder import DecoderSettings, decode, settings_for
from modal_gpu.extents.predictor import (
    LABELS,
    Observation,
    PairPredictions,
    PairPredictor,
    StripHints,
    collect,
)
from training.clip import Clip
from training.scoring import matched


@dataclass(frozen=True)
class Strip:
    """A strip of luma only, as predictors accept it."""

    index: int
    luma: np.ndarray

    def rgb(self) -> np.ndarray:
        return np.repeat(self.luma[..., None], 3, axis=2)


@dataclass(frozen=True)
class Truth:
    """The caption that each frame shows, or -1; ``clear`` is False where it is hardly visible."""

    owner: np.ndarray
    clear: np.ndarray

    def labels(self) -> np.ndarray:
        """Return the column of each pair's label, int (n − 1,)."""
        before, after = self.owner[:-1], self.owner[1:]
        valid = 2 * (before >= 0) + (after >= 0)
        names = np.array(["empty_empty", "empty_valid", "valid_empty", "different"])[valid]
        names[(valid == 3) & (before == after)] = "same"
        return np.array([LABELS.index(name) for name in names], int)

    def extents(self) -> list[tuple[int, int]]:
        """Return the captions as half-open ranges."""
        edges = np.flatnonzero(np.diff(self.owner)) + 1
        bounds = [0, *edges.tolist(), len(self.owner)]
        return [(a, b) for a, b in itertools.pairwise(bounds) if self.owner[a] >= 0]


@dataclass
class Score:
    """Counts over clips, with the F1 scores and accuracies that follow."""

    confusion: np.ndarray = field(default_factory=lambda: np.zeros((5, 5), int))
    truth: int = 0
    found: int = 0
    right: int = 0
    seconds: float = 0.0
    pairs: int = 0

    def add(self, truth: Truth, predicted: PairPredictions, extents: Sequence[tuple[int, int]]) -> None:
        labels, called = truth.labels(), predicted.forward.argmax(axis=1)
        clear = truth.clear[:-1] & truth.clear[1:]
        np.add.at(self.confusion, (labels[clear], called[clear]), 1)
        self.pairs += len(labels)
        wanted = truth.extents()
        self.truth += len(wanted)
        self.found += len(extents)
        self.right += matched(wanted, extents)

    @property
    def pair_accuracy(self) -> float:
        return float(np.trace(self.confusion) / max(1, self.confusion.sum()))

    @property
    def caption_f1(self) -> float:
        return 2 * self.right / (self.truth + self.found) if self.truth + self.found else 1.0

    def label_f1(self, label: str) -> float:
        column = LABELS.index(label)
        both = self.confusion[column].sum() + self.confusion[:, column].sum()
        return float(2 * self.confusion[column, column] / both) if both else 1.0

    def to_json(self) -> dict[str, object]:
        return {
            "captions": self.truth,
            "extracted": self.found,
            "right": self.right,
            "caption_f1": self.caption_f1,
            "pair_accuracy": self.pair_accuracy,
            "label_f1": {label: self.label_f1(label) for label in LABELS},
            "pairs_per_second": self.pairs / self.seconds if self.seconds else None,
        }


def clip_truth(clip: Clip) -> Truth:
    """Return the truth of a clip. Frames with a nearly transparent caption are not clear."""
    return Truth(clip.owner.astype(int), (clip.owner < 0) | (clip.opacity > 90))


def clip_hints(clip: Clip, every: int = 8) -> StripHints:
    """Return the clip's hints with simulated OCR results in every eighth frame."""
    height, width = clip.luma.shape[1:]
    observations = []
    for index in range(0, len(clip.luma), every):
        owner = int(clip.owner[index])
        boxes = ()
        if owner >= 0 and clip.opacity[index] > 120:
            rows, columns = np.nonzero(clip.glyphs[owner] > 60)
            if len(rows):
                # OCR's boxes have a margin around the strokes.
                room = 0.2 * clip.hints.line_height
                boxes = (
                    (
                        max(0.0, 2 * columns.min() / width - 0.01),
                        max(0.0, 2 * rows.min() / height - room),
                        min(1.0, 2 * (columns.max() + 1) / width + 0.01),
                        min(1.0, 2 * (rows.max() + 1) / height + room),
                    ),
                )
        observations.append(Observation(index, boxes))
    return replace(clip.hints, observations=tuple(observations))


def strips_of(luma: np.ndarray) -> Iterator[Strip]:
    return (Strip(index, frame) for index, frame in enumerate(luma))


def score(
    predictor: PairPredictor,
    luma: np.ndarray,
    hints: StripHints,
    truth: Truth,
    scores: Sequence[Score],
    settings: DecoderSettings | None = None,
) -> list[tuple[int, int]]:
    """Evaluate a stack of strips, add the result to every score, and return the extents."""
    started = time.perf_counter()
    predicted = collect(predictor.predict(strips_of(luma), hints))
    seconds = time.perf_counter() - started
    extents = [(e.start, e.end) for e in decode(predicted, settings or settings_for(predictor.model_version))]
    for each in scores:
        each.add(truth, predicted, extents)
        each.seconds += seconds
    return extents


def on_rendered(
    predictors: dict[str, PairPredictor],
    paths: Sequence[Path],
    with_hints: bool = True,
    least_change: float | None = None,
) -> dict[str, dict[str, Score]]:
    """Return scores by predictor and hard case, with ``all``, and by script as ``script:name``."""
    scores: dict[str, dict[str, Score]] = {name: defaultdict(Score) for name in predictors}
    for path in paths:
        clip = Clip.load(path)
        truth = clip_truth(clip)
        hints = clip_hints(clip) if with_hints else StripHints(clip.hints.line_height)
        for name, predictor in predictors.items():
            mine = scores[name]
            settings = settings_for(predictor.model_version)
            if least_change is not None:
                settings = replace(settings, least_change=least_change)
            score(
                predictor,
                clip.source,  # as the pipeline gives them, at the video's own scale
                hints,
                truth,
                [mine["all"], mine[clip.case], mine[f"script:{clip.script}"]],
                settings,
            )
    return scores
