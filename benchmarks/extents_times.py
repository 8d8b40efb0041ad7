"""Errors of the times of captions, measured against the source frames of rendered clips."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.extents_scores import Strip, clip_hints, clip_truth
from modal_gpu.captions.merging import captions_from_extents
from modal_gpu.extents.change_times import ChangeLocator
from modal_gpu.extents.decoder import decode, settings_for
from modal_gpu.extents.predictor import PairPredictor, collect
from modal_gpu.frame_index import INDEX_RATE
from modal_gpu.media.frames import SourceStrip
from training.clip import Clip


@dataclass(frozen=True)
class _SourcedStrip(Strip):
    source: tuple[SourceStrip, ...]


@dataclass
class TimeErrors:
    """Distances of the starts and ends of captions from their source frames.

    Only captions whose ends are within one 10 Hz frame count, and not a clip's own first and last moment.
    """

    seconds: list[float] = field(default_factory=list)
    #: The same distances in source frames of the clip.
    frames: list[float] = field(default_factory=list)

    def to_json(self) -> dict[str, object]:
        milliseconds = 1000 * np.array(self.seconds or [np.nan])
        return {
            "ends": len(self.seconds),
            "median_ms": float(np.median(milliseconds)),
            "p95_ms": float(np.quantile(milliseconds, 0.95)),
            "within_a_source_frame": float((np.array(self.frames or [np.nan]) <= 1.01).mean()),
        }


def time_errors(predictor: PairPredictor, clip: Clip, scores: Sequence[TimeErrors]) -> None:
    """Place the captions of a clip with its source frames, and add their errors."""
    shown, count = clip.shown, len(clip.luma)

    def frames() -> Iterator[_SourcedStrip]:
        for index, luma in enumerate(clip.source):
            new = shown.between((index - 1) / INDEX_RATE, index / INDEX_RATE)
            pictures = tuple(SourceStrip(k / shown.rate, shown.luma[k]) for k in new)
            yield _SourcedStrip(index, luma, pictures)

    locator = ChangeLocator()
    batches = []
    for batch in predictor.predict(locator.watched(frames()), clip_hints(clip)):
        batches.append(batch)
        locator.add(batch)
    extents = decode(collect(batches), settings_for(predictor.model_version))
    placed = captions_from_extents(extents, count, count / INDEX_RATE, locator.finish()[1:])
    for start, end in clip_truth(clip).extents():
        for caption in placed:
            if abs(caption.start_index - start) > 1 or abs(caption.end_index - end) > 1:
                continue
            begins, ends = shown.span(int(clip.owner[start]))
            errors = [abs(caption.start_seconds - begins)] if start > 0 else []
            errors += [abs(caption.end_seconds - ends)] if end < count else []
            for each in scores:
                each.seconds += errors
                each.frames += [error * shown.rate for error in errors]
            break


def on_source_frames(
    predictors: dict[str, PairPredictor], paths: Sequence[Path]
) -> dict[str, dict[str, TimeErrors]]:
    """Return errors by predictor and hard case, with ``all``."""
    errors: dict[str, dict[str, TimeErrors]] = {name: defaultdict(TimeErrors) for name in predictors}
    for path in paths:
        clip = Clip.load(path)
        for name, predictor in predictors.items():
            time_errors(predictor, clip, [errors[name]["all"], errors[name][clip.case]])
    return errors
