"""Write the packages' licenses into ``docs/reference/licenses.md``: ``python deploy/licenses.py``.

Run it in an environment of ``make test``. Versions are those of the lock, licenses those that the installed
packages state, as SPDX expressions.
"""

import re
from collections.abc import Iterator
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "licenses.md"
LOCKS = (ROOT / "constraints.txt", ROOT / "deploy" / "requirements.txt")
BEGIN, END = "<!-- packages: written by deploy/licenses.py -->\n", "<!-- end of packages -->\n"

#: What packages state without an expression, as SPDX. Longer keys are tried first.
STATED = {
    "0BSD": "0BSD",
    "2-Clause BSD": "BSD-2-Clause",
    "3-Clause BSD": "BSD-3-Clause",
    "Apache 2": "Apache-2.0",
    "Apache License": "Apache-2.0",
    "Apache Software": "Apache-2.0",
    "Apache-2.0": "Apache-2.0",
    "BSD-2-Clause": "BSD-2-Clause",
    "BSD-3-Clause": "BSD-3-Clause",
    "ISC": "ISC",
    "LGPL with exceptions": "LGPL-3.0-or-later WITH openvpn-openssl-exception",
    "MIT": "MIT",
    "MPL-2.0 AND MIT": "MPL-2.0 AND MIT",
    "Mozilla Public License 2.0": "MPL-2.0",
    "MPL-2.0": "MPL-2.0",
    "PSF-2.0": "PSF-2.0",
    "Python Software Foundation": "PSF-2.0",
}
#: Read from the packages' license files, because their metadata is missing or says less.
READ = {
    "antlr4-python3-runtime": "BSD-3-Clause",
    "click": "BSD-3-Clause",
    "colorama": "BSD-3-Clause",
    "jinja2": "BSD-3-Clause",
    "omegaconf": "BSD-3-Clause",
    "psycopg2-binary": "LGPL-3.0-or-later",
    "pyasn1-modules": "BSD-2-Clause",
    "pyreadline3": "BSD-3-Clause",
    "python-bidi": "LGPL-3.0-or-later",
    "python-dateutil": "Apache-2.0 OR BSD-3-Clause",
    "pywin32": "PSF-2.0",
    "uvloop": "MIT OR Apache-2.0",
}


class Row(NamedTuple):
    """A locked package; ``needed_for`` is an extra or a platform, or empty."""

    name: str
    version: str
    license: str
    needed_for: str


def pins(file: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the name, the version and the marker of each locked package."""
    line = r"^([\w.-]+)(?:\[.*?\])?==(\S+)(?: ; (.*?))? ?\\?$"
    yield from re.findall(line, file.read_text(), re.MULTILINE)


def stated(found: PackageMetadata) -> str | None:
    """Return the SPDX expression of what a package states, or ``None`` if that is not clear."""
    if expression := found.get("License-Expression"):
        return expression
    classifiers = [line for line in found.get_all("Classifier") or () if line.startswith("License ::")]
    for text in ((found.get("License") or "").partition("\n")[0], *classifiers):
        for key in sorted(STATED, key=len, reverse=True):
            if key in text:
                return STATED[key]
    return None


def license_of(name: str) -> str:
    """Return the license of a package. Raises ``ValueError`` if it has to be read and entered by hand."""
    if name in READ:
        return READ[name]
    try:
        known = stated(metadata(name))
    except PackageNotFoundError:
        known = None
    if known is None:
        raise ValueError(f"{name}: read its license and enter it in READ of deploy/licenses.py")
    return known


def rows() -> list[Row]:
    """Return the packages of the base and of the container image, by name."""
    base, image = ({name: rest for name, *rest in pins(file)} for file in LOCKS)
    found = []
    for name, (version, marker) in sorted((image | base).items()):
        platform = "Windows" if "sys_platform == 'win32'" in marker else ""
        found.append(Row(name, version, license_of(name), platform if name in base else "k8s"))
    return found


def page(now: str) -> str:
    """Return the page with the table of the locked packages. Raises ``ValueError`` without its marks."""
    lines = ["| package | version | license | needed for |", "| --- | --- | --- | --- |"]
    lines += [f"| {row.name} | {row.version} | {row.license} | {row.needed_for} |" for row in rows()]
    before, begin, rest = now.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{PAGE} has no marks {BEGIN!r} and {END!r}")
    return "".join([before, begin, "\n".join(lines), "\n", end, after])


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
