"""The table of ordinary use: each fault that people met, what is right, and the test that holds it.

One TOML file a section, one ``[[row]]`` a fault with ``what``, ``expected`` and ``test`` (one test or a list
of tests, each ``tests/….py::test_name``). The tests themselves stand where their subject is tested.
"""

import ast
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.source_trees import source_tree

FOLDER = Path(__file__).parent
REPOSITORY = FOLDER.parent.parent
ROWS = [
    (file.stem, number, row)
    for file in sorted(FOLDER.glob("*.toml"))
    for number, row in enumerate(tomllib.loads(file.read_text(encoding="utf-8"))["row"], start=1)
]


@cache
def _tests_in(file: str) -> frozenset[str]:
    """Names of the test functions of a file, those in classes included."""
    return frozenset(
        node.name
        for node in ast.walk(source_tree(REPOSITORY / file))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )


def _named(row: dict) -> Iterator[str]:
    tests = row["test"]
    yield from [tests] if isinstance(tests, str) else tests


@pytest.mark.parametrize(("section", "number", "row"), ROWS, ids=[f"{s}-{n}" for s, n, _ in ROWS])
def test_each_row_names_tests_that_exist(section: str, number: int, row: dict) -> None:
    assert set(row) == {"what", "expected", "test"}, f"{section}, row {number}"
    assert all(row.values()), f"{section}, row {number} has an empty field"
    for test in _named(row):
        file, _, name = test.partition("::")
        assert (REPOSITORY / file).is_file(), f"{section}, row {number}: there is no file {file}"
        assert name in _tests_in(file), f"{section}, row {number}: {file} has no test {name}"
