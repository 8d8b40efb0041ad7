"""The letters of languages, and how many of them a model's dictionary has.

The letters are CLDR's main exemplar characters, in the vendored table ``exemplars.json`` beside this module,
which ``deploy/exemplars.py`` writes. Languages count in their usual script unless their tag has another.
"""

import json
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from modal_gpu.ocr.languages.tags import base_of, script_of

_TABLE = Path(__file__).parent / "exemplars.json"
#: Letters of CLDR's lists that ordinary texts of the language do without: in French names, stressed Dutch
#: words and Finnish loan words, and kana that are no longer in use.
_RARE = {"fr": "ÿ", "nl": "\u0301", "fi": "šž", "ja": "ゐヱ"}
#: Scripts whose vowel signs are left out in ordinary text, so that no model needs them.
_OPTIONAL_SIGNS = ("Arab", "Hebr")


@dataclass(frozen=True)
class Coverage:
    """The letters of a language that a dictionary has and lacks, in lower case."""

    language: str
    known: frozenset[str]
    missing: frozenset[str]

    @property
    def is_full(self) -> bool:
        """True if the dictionary has every letter, except rare ones; False if no letters are known."""
        return bool(self.known) and self.missing <= frozenset(_RARE.get(base_of(self.language), ""))

    def describe(self) -> str:
        """Return which share is known, in words."""
        total = len(self.known) + len(self.missing)
        some = " ".join(sorted(self.missing)[:8])
        return f"{len(self.known)} of {total} letters of {self.language}, not {some}"


@lru_cache(maxsize=1)
def exemplars() -> dict[str, frozenset[str]]:
    """Return the letters of each language of the table, by tag."""
    table: dict[str, str] = json.loads(_TABLE.read_text(encoding="utf-8"))["letters"]
    return {tag: _expanded(tag, ranges) for tag, ranges in table.items()}


def letters_of(tag: str) -> frozenset[str]:
    """Return a language's letters in lower case; empty for a language that CLDR does not list."""
    table, base, script = exemplars(), base_of(tag), script_of(tag)
    for name in (tag, f"{base}-{script}"):
        if name in table:
            return table[name]
    return table.get(base, frozenset()) if script == script_of(base) else frozenset()


def coverage(tag: str, dictionary: Iterable[str]) -> Coverage:
    """Return which of a language's letters a model's ``dictionary`` has, in both cases."""
    characters = dictionary if isinstance(dictionary, frozenset) else frozenset(dictionary)
    letters = letters_of(tag)
    known = frozenset(letter for letter in letters if _has(characters, letter))
    return Coverage(tag, known, letters - known)


def _has(characters: frozenset[str], letter: str) -> bool:
    upper = letter.upper()
    return _has_one(characters, letter) and (len(upper) > 1 or _has_one(characters, upper))


def _has_one(characters: frozenset[str], letter: str) -> bool:
    return letter in characters or all(part in characters for part in unicodedata.normalize("NFD", letter))


def _expanded(tag: str, ranges: str) -> frozenset[str]:
    found: set[str] = set()
    for part in ranges.split(" "):
        found.update(map(chr, range(ord(part[0]), ord(part[-1]) + 1)))
    if script_of(tag) in _OPTIONAL_SIGNS:
        found = {letter for letter in found if not unicodedata.combining(letter)}
    return frozenset(found)
