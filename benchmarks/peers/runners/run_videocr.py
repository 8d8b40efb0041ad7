"""videocr, whose last release stops at the decimals of Tesseract 5: confidences become whole numbers."""

import argparse
import re
from pathlib import Path

import pytesseract
import videocr.constants
import videocr.video
from videocr import save_subtitles_to_file

_exact = pytesseract.image_to_data
#: The column of the confidence, with its decimals, between the eleventh and the twelfth tabulator.
_DECIMALS = re.compile(r"^((?:\S+\t){10}-?\d+)\.\d+\t", re.MULTILINE)


def rounded(*arguments: object, **options: object) -> str:
    """Return Tesseract's table with whole confidences."""
    return _DECIMALS.sub(r"\1\t", _exact(*arguments, **options))


def main() -> None:
    """Read a video and write a SubRip file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("video")
    parser.add_argument("output")
    parser.add_argument("--language", required=True)
    given = parser.parse_args()
    pytesseract.image_to_data = rounded
    # It would download the data; the system's packages have it.
    data = next(Path("/usr/share/tesseract-ocr").glob("*/tessdata"))
    videocr.constants.TESSDATA_DIR = data
    save_subtitles_to_file(given.video, given.output, lang=given.language)


if __name__ == "__main__":
    main()
