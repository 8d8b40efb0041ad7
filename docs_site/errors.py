"""The platform's own errors, from their classes."""

import importlib

from docs_site.markdown import cell, code, first_paragraph, table
from modal_gpu.errors import CaptionAccError, ConfigurationError

#: Modules that define or import every error.
_MODULES = (
    "captionacc_dagster.cli",
    "captionacc_dagster.dagster_internals.queued_runs",
    "captionacc_dagster.definitions",
    "captionacc_dagster.web.service.tokens",
    "captionacc_dagster.web.starter",
)


def error_reference() -> str:
    """Return a table of the error classes: what each means, and whether it may pass by itself."""
    for module in _MODULES:
        importlib.import_module(module)
    found = {kind.__name__: kind for kind in _classes(CaptionAccError) if _is_ours(kind)}
    return table(
        ["error", "meaning", "what follows"],
        (
            (code(name), cell(first_paragraph(kind.__doc__)), _consequence(kind))
            for name, kind in sorted(found.items())
        ),
    )


def _classes(of: type[CaptionAccError]) -> list[type[CaptionAccError]]:
    return [kind for direct in of.__subclasses__() for kind in (direct, *_classes(direct))]


def _is_ours(kind: type) -> bool:
    return kind.__module__.startswith(("modal_gpu", "captionacc_dagster"))


def _consequence(kind: type[CaptionAccError]) -> str:
    if kind.retryable:
        return "tried again"
    return "the operator acts" if issubclass(kind, ConfigurationError) else "final"
