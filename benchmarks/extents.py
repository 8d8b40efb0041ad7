"""``python -m benchmarks.extents``: how well predictors find captions' frames, network and baseline.

Rendered clips of the test split (footage, fonts and texts that training never saw), a row for each
hard case, and the real clips with their truth. Each predictor sees the strips once; captions come
from its pair probabilities through the same decoder. How exactly the source frame of each start and
end is found is measured on clips that keep all of them.
"""

import itertools
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from modal_gpu.captions.merging import captions_from_extents
from modal_gpu.contracts import CropRegion
from modal_gpu.errors import CaptionAccError
from modal_gpu.extents.change_times import ChangeLocator
from modal_gpu.extents.decoder import DecoderSettings, decode, settings_for
from modal_gpu.extents.predictor import (
    LABELS,
    Observation,
    PairPredictions,
    PairPredictor,
    StripHints,
    collect,
)
from modal_gpu.extents.strokes import StrokePredictor
from modal_gpu.frame_index import INDEX_RATE
from modal_gpu.media.frames import SourceStrip
from training.clip import LONG_FRAMES, Clip
from training.scoring import matched


@dataclass(frozen=True)
class Strip:
    """A strip of luma only, as predictors take it."""

    index: int
    luma: np.ndarray

    def rgb(self) -> np.ndarray:
        return np.repeat(self.luma[..., None], 3, axis=2)


@dataclass(frozen=True)
class Truth:
    """Which caption each frame shows, -1 for none; ``clear`` is False where that can hardly be seen."""

    owner: np.ndarray
    clear: np.ndarray

    def labels(self) -> np.ndarray:
        """Column of each pair's label, int (n − 1,)."""
        before, after = self.owner[:-1], self.owner[1:]
        valid = 2 * (before >= 0) + (after >= 0)
        names = np.array(["empty_empty", "empty_valid", "valid_empty", "different"])[valid]
        names[(valid == 3) & (before == after)] = "same"
        return np.array([LABELS.index(name) for name in names], int)

    def extents(self) -> list[tuple[int, int]]:
        """Half-open ranges of the captions."""
        edges = np.flatnonzero(np.diff(self.owner)) + 1
        bounds = [0, *edges.tolist(), len(self.owner)]
        return [(a, b) for a, b in itertools.pairwise(bounds) if self.owner[a] >= 0]


@dataclass
class Score:
    """Counts over clips; F1 and accuracy follow."""

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
    """Frames in which a caption is nearly transparent are not clear."""
    return Truth(clip.owner.astype(int), (clip.owner < 0) | (clip.opacity > 90))


def clip_hints(clip: Clip, every: int = 8) -> StripHints:
    """The clip's hints with what OCR would have found in every eighth frame."""
    height, width = clip.luma.shape[1:]
    observations = []
    for index in range(0, len(clip.luma), every):
        owner = int(clip.owner[index])
        boxes = ()
        if owner >= 0 and clip.opacity[index] > 120:
            rows, columns = np.nonzero(clip.glyphs[owner] > 60)
            if len(rows):
                # OCR's boxes have room around the strokes.
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
    return StripHints(**{**asdict(clip.hints), "observations": tuple(observations)})


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
    """Judge a stack of strips and add the outcome to every score; gives the extents."""
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
    """Scores by predictor and hard case, ``all`` among them, and by script as ``script:name``."""
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


# --- source frames ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _SourcedStrip(Strip):
    source: tuple[SourceStrip, ...]


@dataclass
class TimeErrors:
    """How far starts and ends of captions lie from their source frames.

    Of captions whose ends are within one 10 Hz frame; a clip's own first and last moment do not count.
    """

    seconds: list[float] = field(default_factory=list)
    #: The same in source frames of the clip.
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
    """Place the captions of a clip with its source frames, and add how far off they are."""
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
    """Errors by predictor and hard case, ``all`` among them."""
    errors: dict[str, dict[str, TimeErrors]] = {name: defaultdict(TimeErrors) for name in predictors}
    for path in paths:
        clip = Clip.load(path)
        for name, predictor in predictors.items():
            time_errors(predictor, clip, [errors[name]["all"], errors[name][clip.case]])
    return errors


# --- real clips -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RealClip:
    """Strips of a whole video, its hints from layout analysis, and the truth in seconds."""

    luma: np.ndarray
    hints: StripHints
    captions: list[tuple[float, float]]

    def truth(self) -> Truth:
        """Index i shows what is on screen at i / 10 s."""
        owner = np.full(len(self.luma), -1)
        moments = np.arange(len(self.luma)) / 10 + 1e-6
        for place, (start, end) in enumerate(self.captions):
            owner[(moments >= start) & (moments < end)] = place
        return Truth(owner, np.ones(len(owner), bool))


def real_clip(video: Path, cache: Path) -> RealClip:
    """The strips as the pipeline crops them: OCR of full frames, layout, crop; kept in ``cache``."""
    from benchmarks.quality import read_captions

    stored = cache / f"{video.stem}.npz"
    if not stored.exists():
        luma, hints = _strips_and_hints(video)
        stored.parent.mkdir(parents=True, exist_ok=True)
        partial = stored.with_suffix(".part")
        with partial.open("wb") as file:
            np.savez(file, luma=luma, hints=np.frombuffer(json.dumps(asdict(hints)).encode(), np.uint8))
        partial.replace(stored)
    with np.load(stored) as data:
        luma, fields = data["luma"], json.loads(data["hints"].tobytes())
    fields["ignore_boxes"] = tuple(map(tuple, fields["ignore_boxes"]))
    fields["observations"] = tuple(
        Observation(o["index"], tuple(map(tuple, o["caption_boxes"]))) for o in fields["observations"]
    )
    captions = [(c.start_s, c.end_s) for c in read_captions(video.with_suffix(".srt"))]
    return RealClip(luma, StripHints(**fields), captions)


def _strips_and_hints(video: Path) -> tuple[np.ndarray, StripHints]:
    import tempfile
    import uuid

    from modal_gpu.contracts import ExtractRequest
    from modal_gpu.databases.layout import read_layout
    from modal_gpu.functions.extract import extract_frames_and_ocr
    from modal_gpu.functions.hints import strip_hints
    from modal_gpu.functions.settings import ComputeSettings
    from modal_gpu.keys import VideoKeys
    from modal_gpu.media.frames import read_cropped_frames
    from modal_gpu.storage import ObjectStore

    with tempfile.TemporaryDirectory(prefix="extents-") as work:
        store = ObjectStore.from_url(Path(work).resolve().as_uri())
        keys = VideoKeys(str(uuid.uuid4()), str(uuid.uuid4()))
        store.upload(video, keys.video)
        extract_frames_and_ocr(
            ExtractRequest(keys.tenant_id, keys.video_id, keys.video), store, ComputeSettings()
        )
        crop: CropRegion = read_layout(store.get(keys.layout_db)).crop_region
        hints = strip_hints(store, keys, crop)
    return np.stack([frame.luma for frame in read_cropped_frames(video, crop)]), hints


# --- command ----------------------------------------------------------------------------------------


def _table(title: str, scores: dict[str, dict[str, Score]], rows: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("case")
    table.add_column("captions", justify="right")
    for name in scores:
        for figure in ("caption F1", "pairs", "different F1"):
            table.add_column(f"{name}: {figure}", justify="right")
    for row in rows:
        cells = [row, str(next(iter(scores.values()))[row].truth)]
        for by_case in scores.values():
            each = by_case[row]
            cells += [
                f"{each.caption_f1:.3f}",
                f"{each.pair_accuracy:.4f}",
                f"{each.label_f1('different'):.3f}",
            ]
        table.add_row(*cells, end_section=row == "all")
    return table


def _times_table(errors: dict[str, dict[str, TimeErrors]]) -> Table:
    table = Table(title="starts and ends at source frames", title_justify="left")
    table.add_column("case")
    for name in errors:
        for figure in ("ends", "median", "p95", "within a source frame"):
            table.add_column(f"{name}: {figure}", justify="right")
    for row in next(iter(errors.values())):
        cells = [row]
        for by_case in errors.values():
            figures = by_case[row].to_json()
            cells += [
                str(figures["ends"]),
                f"{figures['median_ms']:.0f} ms",
                f"{figures['p95_ms']:.0f} ms",
                f"{figures['within_a_source_frame']:.1%}",
            ]
        table.add_row(*cells, end_section=row == "all")
    return table


def main(
    data: Annotated[
        Path,
        typer.Option(help="Folder with backgrounds/ and clips/.", envvar="CAPTIONACC_TEST_DATA", exists=True),
    ],
    model: Annotated[Path | None, typer.Option(help="A model file; the shipped one by default.")] = None,
    clips: Annotated[int, typer.Option(help="Rendered clips of the test split; 26 cases in turn.")] = 416,
    timed: Annotated[
        int, typer.Option(help="Rendered clips whose starts and ends are placed on source frames.")
    ] = 104,
    cache: Annotated[Path, typer.Option(help="Where rendered clips are kept.")] = Path(
        ".captionacc/training"
    ),
    baseline: Annotated[bool, typer.Option(help="Also the classical predictor.")] = True,
    split: Annotated[str, typer.Option(help="Which rendered clips.")] = "test",
    hints: Annotated[
        bool, typer.Option(help="Rendered clips: the layout's hints beyond line height.")
    ] = True,
    least_change: Annotated[
        float | None,
        typer.Option(help="Rendered clips: least change believed, not the predictors' own."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Caption F1 with both ends within one 10 Hz frame, pair accuracy and F1 of the labels."""
    from modal_gpu.extents.checkpoint import load_predictor
    from training.dataset import ClipStore

    console = Console(width=150)
    predictors: dict[str, PairPredictor] = {}
    try:
        predictors["network"] = load_predictor(model)
    except CaptionAccError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None
    if baseline:
        predictors["strokes"] = StrokePredictor()
    store = ClipStore(cache.resolve(), (data / "backgrounds").resolve(), LONG_FRAMES, keep_source=True)
    paths = store.generate(split, clips)
    rendered = on_rendered(predictors, paths, hints, least_change)
    times = on_source_frames(predictors, replace(store, keep_shown=True).generate(split, timed))
    real: dict[str, dict[str, Score]] = {name: defaultdict(Score) for name in predictors}
    for video in sorted((data / "clips").glob("*.mp4")):
        clip = real_clip(video, cache / "real")
        for name, predictor in predictors.items():
            score(predictor, clip.luma, clip.hints, clip.truth(), [real[name][video.stem]])
    if as_json:
        report = {
            kind: {
                name: {case: s.to_json() for case, s in by_case.items()} for name, by_case in scores.items()
            }
            for kind, scores in (("rendered", rendered), ("real", real), ("times", times))
        }
        print(json.dumps(report))
        return
    cases = [row for row in next(iter(rendered.values())) if row != "all" and not row.startswith("script:")]
    scripts = sorted(row for row in next(iter(rendered.values())) if row.startswith("script:"))
    console.print(_table(f"{len(paths)} rendered clips, {split} split", rendered, ["all", *cases, *scripts]))
    if timed:
        console.print(_times_table(times))
    console.print(_table("real clips", real, sorted(next(iter(real.values())))))
    for name, by_case in rendered.items():
        console.print(f"{name}: {by_case['all'].to_json()['label_f1']}")


if __name__ == "__main__":
    typer.run(main)
