"""``python -m benchmarks.letters``: which letters with marks the wheel's recognition model reads.

Each letter is drawn in eight places of invented words, white with a dark outline, and read back. A dictionary
alone does not tell: models leave out letters that their training texts rarely had.
"""

import sys
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.situations.drawing import font, glyphs
from modal_gpu.ocr.languages.letters import exemplars
from modal_gpu.ocr.languages.registry import UNREAD
from modal_gpu.ocr.languages.tags import script_of
from modal_gpu.ocr.rapid import STRIP, RapidOcrEngine, model_dictionary

_WORDS = ("ma{0}o le{0}i ko{0}a ne{0}u", "{0}apo to{0} mi{0}en ro{0}te")
_PLACES = 8
_FONT = "latin"
#: A letter that is read in at most so many places counts as unread.
_UNREAD_LIMIT = 2


def letters(dictionary: frozenset[str]) -> list[str]:
    """Return the letters beyond ASCII of all languages in Latin script that a dictionary has."""
    latin = (found for tag, found in exemplars().items() if script_of(tag) == "Latn")
    return sorted({c for found in latin for c in found if ord(c) > 127} & dictionary)


def read_places(engine: RapidOcrEngine, letter: str) -> int:
    """Return in how many of the eight places a letter is read."""
    found = 0
    for words in _WORDS:
        picture = Image.new("RGB", (960, 80), (90, 90, 90))
        edge = {"stroke_width": 3, "stroke_fill": (10, 10, 14)}
        ImageDraw.Draw(picture).text(
            (480, 56), words.format(letter), font=font(_FONT, 36), anchor="ms", fill="white", **edge
        )
        found += sum(line.text.count(letter) for line in engine.recognize(np.asarray(picture)))
    return found


def main() -> None:
    """Print each letter that is not read everywhere, and the letters that count as unread."""
    engine = RapidOcrEngine(replace(STRIP, min_confidence=0.0))
    unread = ""
    for letter in letters(model_dictionary()):
        if letter not in glyphs(_FONT):
            sys.stdout.write(f"{letter} is not in the font\n")
            continue
        count = read_places(engine, letter)
        unread += letter * (count <= _UNREAD_LIMIT)
        if count < _PLACES:
            sys.stdout.write(f"{letter} {count} of {_PLACES}\n")
    sys.stdout.write(f"unread: {unread}\nin the code: {''.join(sorted(UNREAD))}\n")


if __name__ == "__main__":
    main()
