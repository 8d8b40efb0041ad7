"""The direction of imports: each module imports only from its own floor and from floors below it.

Imports inside functions and under ``TYPE_CHECKING`` count as well. Deferring an import saves time; it does
not turn an arrow round.
"""

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.source_trees import source_tree

ROOT = Path(__file__).parent.parent
PRODUCT = "captionacc_dagster"
#: From the roof to the ground. Packages that share a floor do not import one another.
FLOORS = (
    ("__main__",),
    ("cli",),
    ("web", "demo"),
    ("definitions",),
    ("sensors",),
    ("comparison",),
    ("jobs", "actions", "adoption"),
    ("assets",),
    ("operations", "costs"),
    ("runs",),
    ("resources",),
    ("platform",),
    ("dagster_internals",),
    ("logs",),
    ("settings", "partitions", "partition_keys"),
    ("ocr_settings", "web_settings", "adoption_settings"),
    ("constants", "__init__"),
)
LEVELS = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {
    module_name(path): path
    for package in (PRODUCT, "modal_gpu")
    for path in sorted((ROOT / package).rglob("*.py"))
}


def imported_names(tree: ast.AST) -> Iterator[str]:
    """Yield every dotted name that the code imports, at any depth."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_modules(path: Path) -> set[str]:
    """Return the modules of the product that a file imports."""
    names = imported_names(source_tree(path))
    candidates = ((name, name.rpartition(".")[0]) for name in names)
    return {next((name for name in pair if name in SOURCES), "") for pair in candidates} - {""}


GRAPH = {module: imported_modules(path) for module, path in SOURCES.items()}


def room(module: str) -> str:
    """Return the package or root module that a module of ``captionacc_dagster`` is in."""
    return module.split(".")[1] if "." in module else "__init__"


def test_every_room_has_its_floor() -> None:
    rooms = {room(module) for module in SOURCES if module.startswith(PRODUCT)}
    assert rooms == set(LEVELS)


@pytest.mark.parametrize("module", [module for module in SOURCES if module.startswith(PRODUCT)])
def test_no_module_imports_from_a_floor_above_or_from_a_neighbour(module: str) -> None:
    here = room(module)
    wrong = {
        other
        for other in GRAPH[module]
        if other.startswith(PRODUCT) and room(other) != here and LEVELS[room(other)] <= LEVELS[here]
    }
    assert not wrong, f"{module} imports {sorted(wrong)}"


def test_modal_gpu_imports_neither_the_platform_nor_dagster() -> None:
    for module, path in SOURCES.items():
        if module.startswith("modal_gpu"):
            roots = {name.partition(".")[0] for name in imported_names(source_tree(path))}
            assert not {PRODUCT, "dagster"} & roots, module


@pytest.mark.parametrize("module", [module for module in SOURCES if module.startswith(PRODUCT)])
def test_private_names_of_dagster_are_used_in_their_own_room_only(module: str) -> None:
    private = {
        name
        for name in imported_names(source_tree(SOURCES[module]))
        if name.startswith("dagster") and "._" in name
    }
    assert not private or room(module) == "dagster_internals", f"{module} imports {sorted(private)}"


def test_modules_import_one_another_in_no_circle() -> None:
    graphlib.TopologicalSorter(GRAPH).prepare()


def test_imports_in_functions_count() -> None:
    deferred = ast.parse("def f():\n    from captionacc_dagster.cli import app\n")
    assert list(imported_names(deferred)) == ["captionacc_dagster.cli.app"]
