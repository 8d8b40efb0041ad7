"""``deploy/exemplars.py``: the letters of a language from CLDR's notation, and as ranges."""

import runpy
from pathlib import Path

import pytest

EXEMPLARS = runpy.run_path(str(Path(__file__).resolve().parents[2] / "deploy" / "exemplars.py"))


@pytest.mark.parametrize(
    ("unicode_set", "letters"),
    [
        ("[a-c é]", "abcé"),
        ("[{ch} {dz\\u030C}]", "chdz\u030c"),
        ("[\\u0301 \\u0430-\\u0432]", "\u0301абв"),
        # Punctuation is none of them.
        ("[a \\- \\u2019]", "a"),
        ("[]", ""),
    ],
)
def test_the_letters_of_a_set_are_its_letters_and_marks(unicode_set: str, letters: str):
    assert EXEMPLARS["letters"](unicode_set) == set(letters)


@pytest.mark.parametrize(
    ("letters", "ranges"), [("", ""), ("a", "a"), ("abc", "ac"), ("abcxéè", "ac x èé"), ("ab", "ab")]
)
def test_neighbours_are_one_range(letters: str, ranges: str):
    assert EXEMPLARS["as_ranges"](set(letters)) == ranges
