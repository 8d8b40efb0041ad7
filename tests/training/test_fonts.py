"""Fonts: searched where the setting says; the tests' own come from packages and can write what they write."""

import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import ImageFont

from training import texts
from training.fonts import FontFace, Split, faces

REPOSITORY = Path(__file__).resolve().parents[2]
NOT_A_CHARACTER = "\uffff"


def _picture(font: ImageFont.FreeTypeFont, character: str) -> bytes:
    return bytes(font.getmask(character))


@pytest.mark.parametrize("script", texts.SCRIPTS)
def test_the_font_of_the_tests_has_the_characters_of_the_script(script):
    font = FontFace("not-installed.ttf", script).load(40)
    box = _picture(font, NOT_A_CHARACTER)
    rng = np.random.default_rng(0)
    written = "".join(texts.text(rng, split, script) for split in get_args(Split) for _ in range(20))
    letters = {character for character in written if character.isalpha()}
    without = sorted(character for character in letters if _picture(font, character) == box)
    # No script's font has all: thai texts may quote a Latin word.
    assert len(letters) > 10 and len(without) <= len(letters) // 10, without


def test_each_face_has_its_script():
    for split in get_args(Split):
        for script in texts.SCRIPTS:
            assert {face.script for face in faces(split, script)} == {script}


@pytest.mark.parametrize(
    ("folders", "missing"),
    [("{here}", False), ("/nowhere:{here}", False), ("", True), ("/nowhere", True)],
)
def test_fonts_are_searched_where_the_setting_says(tmp_path, folders, missing):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "Norasi.ttf").touch()
    done = subprocess.run(
        [sys.executable, "-c", "from training import fonts; print(*fonts.missing())"],
        env=os.environ | {"CAPTIONACC_FONT_FOLDERS": folders.format(here=tmp_path)},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    absent = done.stdout.split()
    assert ("Norasi.ttf" in absent) == missing
    assert "uming.ttc" in absent
