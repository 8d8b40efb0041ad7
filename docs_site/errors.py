"""The platform's own errors, from their classes."""

import importlib
import re
from collections.abc import Iterator

from docs_site.links import ROOT
from docs_site.markdown import cell, code, first_paragraph, table
from modal_gpu.errors import CaptionAccError, ConfigurationError

_PACKAGES = ("captionacc_dagster", "modal_gpu")
_DEFINITION = re.compile(r"^class \w+Error\(", re.MULTILINE)


def error_reference() -> str:
    """Return a table of the error classes: what each means, and whether it may pass by itself."""
    return table(
        ["error", "meaning", "what follows"],
        (
            (code(kind.__name__), cell(first_paragraph(kind.__doc__)), _consequence(kind))
            for kind in error_classes()
        ),
    )


def error_classes() -> list[type[CaptionAccError]]:
    """Return the error classes of the platform, by name."""
    for module in _defining_modules():
        importlib.import_module(module)
    found = {kind for kind in _classes(CaptionAccError) if kind.__module__.startswith(_PACKAGES)}
    return sorted(found, key=lambda kind: kind.__name__)


def _defining_modules() -> Iterator[str]:
    """Yield the modules that define errors; commands import theirs only when they run."""
    for package in _PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            if _DEFINITION.search(file.read_text(encoding="utf-8")):
                yield ".".join(file.relative_to(ROOT).with_suffix("").parts)


def _classes(of: type[CaptionAccError]) -> list[type[CaptionAccError]]:
    return [kind for direct in of.__subclasses__() for kind in (direct, *_classes(direct))]


def _consequence(kind: type[CaptionAccError]) -> str:
    if kind.retryable:
        return "tried again"
    return "the operator acts" if issubclass(kind, ConfigurationError) else "final"
