"""``python -m benchmarks.situations``: captions in the styles that people use, one row for each situation.

Each clip is rendered from the shared footage, with its exact truth, and goes through the whole pipeline.
``--keep FOLDER`` keeps the clips and their truth as SubRip files.
"""

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import pysubs2
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.metrics import Caption, Matching, Quality, figures, match
from benchmarks.quality import differences
from benchmarks.situations.choice import chosen
from benchmarks.situations.choice import names as all_names
from benchmarks.situations.drawing import render
from benchmarks.situations.model import Expected, Situation
from modal_gpu.errors import CaptionAccError
from modal_gpu.ocr.choice import OcrEngineName

#: Where the shared data lies.
DATA = Path(os.environ.get("CAPTIONACC_TEST_DATA", "../shared/data"))


def zones(expected: Sequence[Expected]) -> list[list[Caption]]:
    """Return the truth of each zone, in the order of the zones."""
    found: list[list[Caption]] = [[] for _ in range(1 + max((one.zone for one in expected), default=0))]
    for one in expected:
        found[one.zone].append(Caption(one.start, one.end, one.text))
    return found


def matched(expected: Sequence[Expected], found: Sequence[Sequence[Caption]]) -> Matching:
    """Match the captions of each found zone with the truth of the zone that they fit best.

    A zone of the truth without a match is missed entirely; a found zone without a truth is invented.
    """
    truths, left = zones(expected), list(range(len(found)))
    whole = Matching([], [], [])
    for truth in truths:
        best = max(left, key=lambda zone: figures(match(truth, found[zone])).found, default=None)
        part = match(truth, found[best] if best is not None else [])
        if best is not None and part.pairs:
            left.remove(best)
            whole.invented.extend(part.invented)
        whole.pairs.extend(part.pairs)
        whole.missed.extend(part.missed)
    for zone in left:
        whole.invented.extend(found[zone])
    return whole


def extracted(situation: Situation, work: Path) -> list[list[Caption]]:
    """Render a situation and return the captions that the pipeline finds, zone by zone."""
    from benchmarks.pipeline import run_zones
    from modal_gpu.functions.settings import ComputeSettings

    video = work / f"{situation.name}.mp4"
    if not video.exists():
        render(situation, DATA / "backgrounds", video)
        write_truth(situation, video.with_suffix(".srt"))
    with tempfile.TemporaryDirectory(prefix="situations-") as bucket:
        # The registry's models may be out of reach here, Tesseract's come with the system.
        engine: OcrEngineName = "tesseract" if situation.languages else "rapidocr"
        settings = ComputeSettings(ocr_engine=engine, ocr_languages=situation.languages)
        return run_zones(video, Path(bucket), settings)


def write_truth(situation: Situation, path: Path) -> None:
    """Write the captions of a situation as SubRip, in time order."""
    truth = pysubs2.SSAFile()
    for one in sorted(situation.expected, key=lambda expected: expected.start):
        event = pysubs2.SSAEvent(start=round(one.start * 1000), end=round(one.end * 1000))
        event.plaintext = one.text
        truth.append(event)
    truth.save(str(path), format_="srt")


def _row(table: Table, name: str, quality: Quality, **style: str) -> None:
    table.add_row(
        name,
        str(quality.truth),
        f"{quality.found_share:.3f}",
        str(quality.invented),
        f"{quality.both_ends / max(1, quality.truth):.3f}",
        f"{quality.exact_text / max(1, quality.truth):.3f}",
        f"{quality.cer:.1%}",
        f"{quality.start_error_ms.median:.0f} / {quality.end_error_ms.median:.0f}",
        **style,  # type: ignore[arg-type]
    )


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Situations; all of them without a name.")] = None,
    keep: Annotated[Path | None, typer.Option(help="Keep the clips here, or use them.")] = None,
    details: Annotated[bool, typer.Option(help="List what differs from the truth.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a situation.")] = False,
) -> None:
    """Render the situations, run the pipeline on each, and print one table."""
    if unknown := set(names or ()) - set(all_names()):
        raise typer.BadParameter(f"no such situation: {', '.join(sorted(unknown))}")
    console = Console(width=120)
    table = Table("situation", "captions", "found", "invented", "both ends", "exact", "CER", "median ms")
    every = Matching([], [], [])
    with tempfile.TemporaryDirectory(prefix="situations-") as temporary:
        work = keep or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        for situation in chosen(names or ()):
            try:
                found = extracted(situation, work)
            except CaptionAccError as error:
                console.print(f"{situation.name}: {error}", highlight=False)
                found = []
            matching = matched(situation.expected, found)
            quality = figures(matching)
            _row(table, situation.name, quality)
            if as_json:
                print(json.dumps({"situation": situation.name, **quality.to_json()}), flush=True)
            if details:
                console.print(situation.name, differences(matching))
            every.pairs.extend(matching.pairs)
            every.missed.extend(matching.missed)
            every.invented.extend(matching.invented)
    table.add_section()
    _row(table, "all", figures(every), style="bold")
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
