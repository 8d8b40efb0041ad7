"""Parsing of files of pinned requirements."""

import re
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


@dataclass(frozen=True)
class Pin:
    """A locked package. ``hashes``: as in the file, ``sha256:…``."""

    name: str
    version: str
    extras: frozenset[str]
    marker: Marker | None
    hashes: tuple[str, ...]


def read_pins(*files: Path) -> dict[str, Pin]:
    """Return the pins by canonical name. Raises :class:`ValueError` for an invalid or repeated line."""
    pins: dict[str, Pin] = {}
    for file in files:
        text = re.sub(r"^#.*\n", "", file.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
        for line in filter(None, text.splitlines()):
            pin = _pin(line)
            if pin.name in pins:
                raise ValueError(f"{pin.name} is locked twice")
            pins[pin.name] = pin
    return pins


def _pin(line: str) -> Pin:
    stated, *hashes = re.split(r"\s+--hash=", line.strip())
    requirement = Requirement(stated)
    if not (exact := re.fullmatch(r"==([^*]+)", str(requirement.specifier))):
        raise ValueError(f"no exact version: {line}")
    return Pin(
        canonicalize_name(requirement.name),
        exact.group(1),
        frozenset(requirement.extras),
        requirement.marker,
        tuple(hashes),
    )
