"""Parsing of files of pinned requirements."""

import re
from dataclasses import dataclass, replace
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
    """Return the pins by canonical name.

    A package may be in a second file for more platforms. Raises :class:`ValueError` for an invalid line, one
    that is repeated in a file, or another version or other hashes in a second file.
    """
    pins: dict[str, Pin] = {}
    for file in files:
        for name, pin in _pins_of(file).items():
            former = pins.get(name, pin)
            if (former.version, former.hashes) != (pin.version, pin.hashes):
                raise ValueError(f"{name} is locked twice")
            is_everywhere = former.marker is None or pin.marker is None
            pins[name] = replace(
                pin,
                extras=former.extras | pin.extras,
                marker=None if is_everywhere else former.marker,
            )
    return pins


def _pins_of(file: Path) -> dict[str, Pin]:
    pins: dict[str, Pin] = {}
    text = re.sub(r"^#.*\n", "", file.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    for line in filter(None, text.splitlines()):
        pin = _pin(line)
        if pin.name in pins:
            raise ValueError(f"{pin.name} is locked twice in {file}")
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
