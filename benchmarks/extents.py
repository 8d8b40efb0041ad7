"""``python -m benchmarks.extents``: the quality of predicted extents, of the network and of a baseline.

Rendered clips of the test split (footage, fonts and texts that training never saw) have a row for each hard
case; real clips are compared with their truth. Each predictor sees the strips once, and the same decoder
turns its pair probabilities into captions. The times of starts and ends are measured on clips that keep all
source frames.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.extents_scores import Score, on_rendered, score
from benchmarks.extents_times import TimeErrors, on_source_frames
from benchmarks.real_clips import real_clip
from modal_gpu.errors import CaptionAccError
from modal_gpu.extents.predictor import PairPredictor
from modal_gpu.extents.strokes import StrokePredictor
from training.clip import LONG_FRAMES


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
    model: Annotated[Path | None, typer.Option(help="A model file. Default: the bundled one.")] = None,
    clips: Annotated[int, typer.Option(help="Number of rendered clips; 26 cases in turn.")] = 416,
    timed: Annotated[int, typer.Option(help="Number of rendered clips for the errors of times.")] = 104,
    cache: Annotated[Path, typer.Option(help="Folder for rendered clips.")] = Path(".captionacc/training"),
    baseline: Annotated[bool, typer.Option(help="Evaluate the classical predictor too.")] = True,
    split: Annotated[str, typer.Option(help="Split of the rendered clips.")] = "test",
    hints: Annotated[
        bool, typer.Option(help="Rendered clips: use the layout's hints beyond line height.")
    ] = True,
    least_change: Annotated[
        float | None,
        typer.Option(help="Rendered clips: override the predictors' least change."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print caption F1 with both ends within one 10 Hz frame, pair accuracy and F1 of the labels."""
    from training.dataset import ClipStore

    predictors = _predictors(model, baseline)
    store = ClipStore(cache.resolve(), (data / "backgrounds").resolve(), LONG_FRAMES, keep_source=True)
    paths = store.generate(split, clips)
    rendered = on_rendered(predictors, paths, hints, least_change)
    times = on_source_frames(predictors, replace(store, keep_shown=True).generate(split, timed))
    real = _on_real_clips(predictors, data / "clips", cache / "real")
    if as_json:
        report = {
            kind: {
                name: {case: s.to_json() for case, s in by_case.items()} for name, by_case in scores.items()
            }
            for kind, scores in (("rendered", rendered), ("real", real), ("times", times))
        }
        print(json.dumps(report))
        return
    console = Console(width=150)
    cases = [row for row in next(iter(rendered.values())) if row != "all" and not row.startswith("script:")]
    scripts = sorted(row for row in next(iter(rendered.values())) if row.startswith("script:"))
    console.print(_table(f"{len(paths)} rendered clips, {split} split", rendered, ["all", *cases, *scripts]))
    if timed:
        console.print(_times_table(times))
    console.print(_table("real clips", real, sorted(next(iter(real.values())))))
    for name, by_case in rendered.items():
        console.print(f"{name}: {by_case['all'].to_json()['label_f1']}")


def _predictors(model: Path | None, baseline: bool) -> dict[str, PairPredictor]:
    from modal_gpu.extents.predictors import load_predictor

    predictors: dict[str, PairPredictor] = {}
    try:
        predictors["network"] = load_predictor(model)
    except CaptionAccError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None
    if baseline:
        predictors["strokes"] = StrokePredictor()
    return predictors


def _on_real_clips(
    predictors: dict[str, PairPredictor], clips: Path, cache: Path
) -> dict[str, dict[str, Score]]:
    scores: dict[str, dict[str, Score]] = {name: defaultdict(Score) for name in predictors}
    for video in sorted(clips.glob("*.mp4")):
        clip = real_clip(video, cache)
        for name, predictor in predictors.items():
            score(predictor, clip.luma, clip.hints, clip.truth(), [scores[name][video.stem]])
    return scores


if __name__ == "__main__":
    typer.run(main)
