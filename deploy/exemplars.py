"""Writes ``modal_gpu/ocr/languages/exemplars.json``: the letters of each language, from Unicode's CLDR.

``npm pack cldr-misc-full`` gives the package; then ``python deploy/exemplars.py cldr-misc-full-48.2.0.tgz``.
"""

import json
import re
import sys
import tarfile
import unicodedata
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

OUTPUT = Path(__file__).parent.parent / "modal_gpu" / "ocr" / "languages" / "exemplars.json"
_FILE = re.compile(r"package/main/([a-z]{2,3}(?:-[A-Z][a-z]{3})?)/characters\.json")
#: A range, a sequence in braces, an escape or a single character of a UnicodeSet.
_PART = re.compile(r"\{(.+?)\}|(\\u[0-9A-Fa-f]{4}|\\.|[^\s\\])(?:-(\\u[0-9A-Fa-f]{4}|\\.|[^\s\\]))?")


def letters(unicode_set: str) -> set[str]:
    """Return the characters of a UnicodeSet like ``[a-z {ch} \\u0301]``; sequences count by character."""
    found: set[str] = set()
    for sequence, first, last in _PART.findall(unicode_set.strip()[1:-1]):
        if sequence:
            found.update(_plain(part) for part in re.findall(r"\\u[0-9A-Fa-f]{4}|\\.|[^\\]", sequence))
        else:
            start = ord(_plain(first))
            found.update(map(chr, range(start, (ord(_plain(last)) if last else start) + 1)))
    return {c for c in found if unicodedata.category(c)[0] in "LM"}


def _plain(part: str) -> str:
    if part.startswith("\\u"):
        return chr(int(part[2:], 16))
    return part.removeprefix("\\") if len(part) > 1 else part


def as_ranges(found: set[str]) -> str:
    """Return sorted ranges with a space between: ``a`` is one character, ``az`` all from a to z."""
    ordered = sorted(map(ord, found))
    breaks = [0, *(k + 1 for k, (a, b) in enumerate(pairwise(ordered)) if b != a + 1), len(ordered)]
    runs = [ordered[a:b] for a, b in pairwise(breaks) if a < b]
    return " ".join(chr(run[0]) + (chr(run[-1]) if len(run) > 1 else "") for run in runs)


def _languages(package: tarfile.TarFile) -> Iterator[tuple[str, str]]:
    for member in package.getmembers():
        if (match := _FILE.fullmatch(member.name)) and (file := package.extractfile(member)):
            characters = json.load(file)["main"][match[1]]["characters"]
            if found := letters(characters.get("exemplarCharacters", "[]")):
                yield match[1], as_ranges(found)


def main(archive: Path) -> None:
    """Write the table from an archive of the npm package ``cldr-misc-full``."""
    with tarfile.open(archive) as package:
        table = dict(sorted(_languages(package)))
    content = {
        "source": f"exemplarCharacters of {archive.stem}, https://cldr.unicode.org",
        "license": "Unicode-3.0, Copyright © 1991-2026 Unicode, Inc.",
        "letters": table,
    }
    OUTPUT.write_text(json.dumps(content, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
