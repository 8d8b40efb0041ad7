"""Tesseract 5 as the reader of lines that RapidOCR's detector found, through its command.

Only the text comes from Tesseract, so that layout and extents are the same with both engines. Language packs
come from the system (``tesseract-ocr-kor`` on Debian).
"""

import csv
import os
import subprocess
import tempfile
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from modal_gpu.errors import OcrError
from modal_gpu.ocr.engine import BatchLimits, Box, OcrLine, Reading
from modal_gpu.ocr.kept import Kept
from modal_gpu.ocr.languages.reading import is_wide
from modal_gpu.ocr.rapid import FoundLine, RapidOcrEngine
from modal_gpu.ocr.reading_order import join_pieces
from modal_gpu.ocr.stroke_mask import stroke_pictures
from modal_gpu.ocr.tesseract_packs import COMMAND

Picture = npt.NDArray[np.uint8]

#: Images of one call, which loads its language model once.
_BATCH = 8
#: Seconds of one call.
_TIMEOUT = 120
#: A single line of text, in Tesseract's terms.
_PAGE_MODE = "7"
#: Tesseract puts spaces between the characters of these languages, and with this option loses some of Arabic.
_WITHOUT_SPACES, _UNSPACED = ("chi", "jpn"), ("-c", "preserve_interword_spaces=1")
#: Added around a line, in line heights: accents and vowel signs reach beyond the detector's box.
_BESIDE, _ABOVE = 0.1, 0.08


class TesseractEngine:
    """A :class:`~modal_gpu.ocr.engine.BatchOcrEngine`; ``packs`` are tried together, the first preferred."""

    def __init__(
        self,
        packs: Sequence[str],
        finders: Kept[RapidOcrEngine],
        *,
        min_confidence: float = 0.5,
        keep_unread: bool = False,
    ) -> None:
        """Use ``finders`` to find lines. ``keep_unread`` returns wide lines below ``min_confidence``, too."""
        self._packs, self._finders = "+".join(packs), finders
        self._min_confidence, self._keep_unread = min_confidence, keep_unread

    @property
    def batch_limits(self) -> BatchLimits:
        """See :class:`modal_gpu.ocr.engine.BatchOcrEngine`."""
        return BatchLimits(images=_BATCH)

    def recognize_batch(self, images: Sequence[np.ndarray]) -> list[Reading]:
        """See :class:`modal_gpu.ocr.engine.BatchOcrEngine`. All images of a failed call have its error."""
        readings: list[Reading] = []
        found: list[list[FoundLine]] = []
        for image in images:
            with self._finders.lent() as finder:
                try:
                    found.append(finder.find_lines(image))
                    readings.append([])
                except OcrError as error:
                    found.append([])
                    readings.append(error)
        pictures = [
            stroke_pictures(_cut_out(image, line.box))
            for image, lines in zip(images, found, strict=True)
            for line in lines
        ]
        try:
            texts = iter(self._read(pictures))
        except OcrError as error:
            return [error] * len(images)
        for place, (image, lines) in enumerate(zip(images, found, strict=True)):
            if lines:
                read = [OcrLine(*next(texts), line.box) for line in lines]
                readings[place] = self._kept(read, image.shape[1] / image.shape[0])
        return readings

    def close(self) -> None:
        """Do nothing: a call in progress ends by itself."""

    def _kept(self, lines: Sequence[OcrLine], aspect: float) -> list[OcrLine]:
        good = [line for line in lines if line.text and line.confidence >= self._min_confidence]
        joined = join_pieces(good, aspect)
        if not self._keep_unread:
            return joined
        unread = [line for line in lines if line not in good and is_wide(line.box, aspect)]
        return sorted(joined + unread, key=lambda line: line.box.center_y)

    def _read(self, lines: Sequence[Sequence[Picture]]) -> list[tuple[str, float]]:
        """Return the text and confidence of each line, the best over its pictures."""
        pages = [picture for pictures in lines for picture in pictures]
        read = iter(_run(pages, self._packs) if pages else [])
        best = [[next(read) for _ in pictures] for pictures in lines]
        return [max(readings, key=lambda reading: reading[1], default=("", 0.0)) for readings in best]


def _cut_out(image: np.ndarray, box: Box) -> Picture:
    height, width = image.shape[:2]
    line = box.height * height
    top, bottom = box.top * height - _ABOVE * line, box.bottom * height + _ABOVE * line
    left, right = box.left * width - _BESIDE * line, box.right * width + _BESIDE * line
    return np.asarray(
        image[max(0, round(top)) : max(1, round(bottom)), max(0, round(left)) : max(1, round(right))],
        np.uint8,
    )


def _run(pages: Sequence[Picture], packs: str) -> list[tuple[str, float]]:
    """Read pages (uint8, H × W) in one call; return each one's text and its confidence in [0, 1]."""
    with tempfile.TemporaryDirectory(prefix="captionacc-tesseract-") as name:
        folder = Path(name)
        files = [folder / f"{number}.png" for number in range(len(pages))]
        for file, page in zip(files, pages, strict=True):
            cv2.imwrite(str(file), page)
        (folder / "pages.txt").write_text("".join(f"{file}\n" for file in files))
        options = [
            "-l",
            packs,
            "--psm",
            _PAGE_MODE,
            *(_UNSPACED if packs.startswith(_WITHOUT_SPACES) else ()),
            "txt",
            "tsv",
        ]
        try:
            done = subprocess.run(
                [COMMAND, folder / "pages.txt", folder / "read", *options],
                capture_output=True,
                timeout=_TIMEOUT,
                # One thread a worker: Tesseract's own threads make it slower.
                env={**os.environ, "OMP_THREAD_LIMIT": "1"},
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise OcrError(f"Tesseract failed on {len(pages)} lines: {error}") from None
        if done.returncode:
            reason = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
            raise OcrError(f"Tesseract failed on {len(pages)} lines: {reason[-1][:300]}")
        texts = (folder / "read.txt").read_text(encoding="utf-8").split("\f")
        confidences = _confidences((folder / "read.tsv").read_text(encoding="utf-8"))
    return [(_clean(text), confidences[page]) for page, text in enumerate(texts[: len(pages)], 1)]


def _clean(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def _confidences(tsv: str) -> dict[int, float]:
    """Return the mean confidence of each page's words, weighted by their length; 0 without words."""
    words: dict[int, list[tuple[float, int]]] = defaultdict(list)
    for row in csv.DictReader(tsv.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE):
        text = (row["text"] or "").strip()
        if row["level"] == "5" and text:
            words[int(row["page_num"])].append((float(row["conf"]) / 100, len(text)))
    means = {page: sum(c * n for c, n in of) / sum(n for _, n in of) for page, of in words.items()}
    return defaultdict(float, {page: min(1.0, max(0.0, mean)) for page, mean in means.items()})
