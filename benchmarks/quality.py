"""Caption quality against ground truth.

``python -m benchmarks.quality VIDEO --truth SRT`` runs the pipeline on the video; ``--captions FILE`` (SRT or
WebVTT) evaluates existing captions, also of other tools.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import pysubs2
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.metrics import (
    END_TOLERANCE_MS,
    FOUND_IOU,
    Caption,
    EndErrors,
    Matching,
    Quality,
    figures,
    match,
)
from modal_gpu.errors import CaptionAccError


def read_captions(path: Path) -> list[Caption]:
    """Read the captions of an SRT or WebVTT file, without formatting, in time order.

    An empty file has no captions. Raises ``ValueError`` for a file of another kind.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        subtitles = pysubs2.SSAFile.from_string(text) if text.strip() else pysubs2.SSAFile()
    except (pysubs2.exceptions.Pysubs2Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a subtitle file in UTF-8: {error}") from None
    return [
        Caption(event.start / 1000, event.end / 1000, event.plaintext)
        for event in sorted(subtitles)
        if not event.is_comment and event.plaintext.strip()
    ]


def quality_table(quality: Quality, title: str) -> Table:
    """Build a table of the figures."""
    table = Table(title=title, title_justify="left", show_header=False, min_width=len(title))
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")

    def errors(name: str, end: EndErrors) -> None:
        table.add_row(f"{name} error, median", f"{end.median:.0f} ms", f"bias {end.bias:+.0f} ms")
        table.add_row(f"{name} error, p95", f"{end.p95:.0f} ms", f"largest {end.largest:.0f} ms")

    table.add_row("captions in truth", str(quality.truth), f"{quality.extracted} extracted")
    table.add_row("found", str(quality.found), f"{quality.found_share:.1%}, overlap ≥ {FOUND_IOU}")
    table.add_row("mistimed", str(quality.mistimed), f"overlap < {FOUND_IOU}")
    table.add_row("missed", str(quality.missed))
    table.add_row("invented", str(quality.invented))
    errors("start", quality.start_error_ms)
    errors("end", quality.end_error_ms)
    table.add_row("both ends right", str(quality.both_ends), f"within {END_TOLERANCE_MS:.0f} ms")
    table.add_row("exact text", str(quality.exact_text))
    table.add_row("character error rate", f"{quality.cer:.2%}", "missing and invented text counted")
    return table


def differences(matching: Matching) -> Table:
    """Build a table of all errors, a row for each caption."""
    table = Table(title="Differences", title_justify="left")
    for column in ("at", "what", "truth", "extracted"):
        table.add_column(column, overflow="fold")
    rows = [(c.start_s, "missed", c.text, "") for c in matching.missed]
    rows += [(c.start_s, "invented", "", c.text) for c in matching.invented]
    for pair in matching.pairs:
        worst = max(abs(pair.start_error_ms), abs(pair.end_error_ms))
        late = worst > END_TOLERANCE_MS + 1e-6 or pair.iou < FOUND_IOU
        if late or not pair.text_is_exact:
            times = f"start {pair.start_error_ms:+.0f} ms, end {pair.end_error_ms:+.0f} ms" if late else ""
            what = "\n".join(filter(None, [times, "" if pair.text_is_exact else "text"]))
            rows.append((pair.truth.start_s, what, pair.truth.text, pair.extracted.text))
    for at, *cells in sorted(rows):
        table.add_row(f"{at:.2f} s", *cells)
    if not rows:
        table.add_row("", "none")
    return table


def _timed_pipeline(video: Path) -> tuple[list[Caption], float]:
    from benchmarks.pipeline import run_pipeline

    start = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory(prefix="quality-") as work:
            captions = run_pipeline(video, Path(work))
    except (CaptionAccError, FileNotFoundError) as error:
        print(f"{video}: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    return captions, time.perf_counter() - start


def main(
    video: Annotated[Path, typer.Argument(help="The video.")],
    truth: Annotated[Path, typer.Option(help="SRT with the true captions.", exists=True, dir_okay=False)],
    captions: Annotated[
        Path | None,
        typer.Option(help="Captions to measure (SRT, WebVTT). Without: run the pipeline.", exists=True),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    details: Annotated[bool, typer.Option(help="List what differs from the truth.")] = False,
) -> None:
    """Compare extracted captions with the truth."""
    title, seconds = f"{video.name}: quality", None
    try:
        expected = read_captions(truth)
        extracted = read_captions(captions) if captions is not None else None
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if captions is not None:
        title += f" of {captions.name}"
    if extracted is None:
        extracted, seconds = _timed_pipeline(video)
    matching = match(expected, extracted)
    quality = figures(matching)
    if as_json:
        report = {"video": video.name, "seconds": seconds, **quality.to_json()}
        print(json.dumps(report, ensure_ascii=False))
        return
    console = Console()
    console.print(quality_table(quality, title))
    if seconds is not None:
        console.print(f"{seconds:.1f} s for the whole pipeline, loading of models included")
    if details:
        console.print(differences(matching))


if __name__ == "__main__":
    typer.run(main)
