"""``python -m benchmarks.scripts``: how well engines read captions in scripts beyond the wheel's models.

The captions are those of the situations ``korean``, ``russian``, … of :mod:`benchmarks.situations`, over
moving footage. Each is read from the median of 15 frames, cut to the lower 28 % of the picture, and from one
frame. Layout and times play no part.
"""

import os
import statistics
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rapidfuzz.distance import Levenshtein

from benchmarks.situations.choice import chosen
from benchmarks.situations.drawing import frames
from benchmarks.situations.model import Situation
from modal_gpu.captions.median import median_image
from modal_gpu.captions.text import caption_text
from modal_gpu.errors import OcrError
from modal_gpu.functions.settings import ComputeSettings
from modal_gpu.ocr.engine import BatchOcrEngine, OcrEngine, OcrLine

DATA = Path(os.environ.get("CAPTIONACC_TEST_DATA", "../shared/data"))
#: The situations.
SCRIPTS = ("korean", "russian", "arabic", "hindi", "thai", "vietnamese")
_SAMPLES, _STRIP_TOP = 15, 0.72

Pictures = list[tuple[str, np.ndarray, np.ndarray]]


def pictures(situation: Situation) -> Pictures:
    """Return each caption's text, median strip and middle frame, uint8 RGB."""
    every = list(frames(situation, DATA / "backgrounds"))
    top = round(_STRIP_TOP * situation.size[1])
    found = []
    for one in situation.expected:
        first, last = round(one.start * situation.rate), round(one.end * situation.rate)
        chosen = np.linspace(first + 2, last - 3, _SAMPLES).astype(int)
        strip = median_image(every[index][top:] for index in chosen)
        found.append((one.text, strip, every[(first + last) // 2][top:]))
    return found


def read(engine: OcrEngine | BatchOcrEngine, images: Sequence[np.ndarray]) -> list[list[OcrLine]]:
    """Return the lines of each image. Raises :class:`OcrError` if the engine fails on one."""
    if not isinstance(engine, BatchOcrEngine):
        return [engine.recognize(image) for image in images]
    read = []
    for reading in engine.recognize_batch(images):
        if isinstance(reading, OcrError):
            raise reading
        read.append(reading)
    return read


def error_rate(truth: Sequence[str], readings: Sequence[Sequence[OcrLine]]) -> float:
    """Return the character error rate over all captions."""
    wrong = sum(
        Levenshtein.distance(unicodedata.normalize("NFC", text), caption_text(lines).text)
        for text, lines in zip(truth, readings, strict=True)
    )
    return wrong / sum(map(len, truth))


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _rows(names: Sequence[str]) -> Iterator[str]:
    for situation in chosen(names):
        texts, strips, single = zip(*pictures(situation), strict=True)
        plain = error_rate(texts, read(ComputeSettings().open_ocr("strips"), strips))
        engine = ComputeSettings(ocr_engine="tesseract").open_ocr("strips", situation.languages)
        before = _cpu_seconds()
        readings = read(engine, strips)
        seconds = (_cpu_seconds() - before) / len(strips)
        confidence = statistics.mean(line.confidence for lines in readings for line in lines)
        yield (
            f"| {situation.name.capitalize()} | {plain:.0%} | {error_rate(texts, readings):.1%} | "
            f"{error_rate(texts, read(engine, single)):.1%} | {confidence:.2f} | {seconds:.2f} |"
        )


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Situations; all by default.")] = None,
) -> None:
    """Print one row of the table in docs/reference/ocr-engines.md a script."""
    for row in _rows(names or SCRIPTS):
        sys.stdout.write(row + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    typer.run(main)
