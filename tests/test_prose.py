"""The product's code and documentation are short and in plain English.

Ruff checks more of it: docstrings of functions are imperative (D401), lines have at most 110 characters.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.source_trees import source_tree

ROOT = Path(__file__).parents[1]
PRODUCT = ("captionacc_dagster", "modal_gpu", "benchmarks", "training", "schema_migrations", "docs_site")
MODULES = sorted(path for package in PRODUCT for path in (ROOT / package).rglob("*.py"))
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *(path for folder in ("docs", "deploy", "training") for path in (ROOT / folder).rglob("*.md")),
        *(ROOT / "supabase" / "schemas").rglob("*.sql"),
    ]
)
MOST_LINES, MOST_FUNCTION_LINES = 400, 60

#: Words of a private dialect, with what plain English says instead.
PRIVATE_WORDS = {
    "told": "reported, notified",
    "tells of": "reports, shows",
    "anew": "again",
    "of which": "a sentence of its own",
    "for ever": "forever, indefinitely",
    "well or badly": "whether it succeeds or fails",
    "but for": "except",
    "in its stead": "instead",
    "at hand": "available",
    "is said": "is reported",
    "gives back": "returns",
    "thereby": "by that, so",
    "thereof": "of it",
    "the same of": "the same for",
}
_PRIVATE = re.compile(rf"\b({'|'.join(PRIVATE_WORDS)})\b", re.IGNORECASE)
_QUESTION = re.compile(r"(what|how|whether|which|where|why|who|so that)\b", re.IGNORECASE)


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(source_tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines and texts of a module's docstrings."""
    for node in ast.walk(source_tree(path)):
        is_documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if is_documented and (text := ast.get_docstring(node)):
            yield getattr(node, "lineno", 1), text


def place(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def report(found: list[str]) -> None:
    """Fail with one line for each finding."""
    if found:
        pytest.fail("\n".join(found), pytrace=False)


def test_there_is_something_to_check():
    assert len(MODULES) > 150 and len(DOCUMENTS) > 10


def test_no_module_is_longer_than_400_lines():
    lines = {path: len(path.read_text().splitlines()) for path in MODULES}
    report([place(path, count) for path, count in lines.items() if count > MOST_LINES])


def test_no_function_is_longer_than_60_lines():
    report(
        [
            f"{place(path, function.lineno)} {function.name}"
            for path in MODULES
            for function in functions(path)
            if (function.end_lineno or 0) - function.lineno + 1 > MOST_FUNCTION_LINES
        ]
    )


def test_no_docstring_begins_with_a_question_word():
    """A docstring says what a thing does or is: "Return whether …", not "Whether …"."""
    report(
        [
            f"{place(path, line)}: {text.splitlines()[0]}"
            for path in MODULES
            for line, text in docstrings(path)
            if _QUESTION.match(text)
        ]
    )


@pytest.mark.parametrize("folder", [*PRODUCT, "documents"])
def test_no_private_words_are_used(folder: str):
    paths = DOCUMENTS if folder == "documents" else sorted((ROOT / folder).rglob("*.py"))
    report(
        [
            f"{place(path, number)}: {match[0]!r} ({PRIVATE_WORDS[match[0].lower()]})"
            for path in paths
            for number, line in enumerate(path.read_text().splitlines(), 1)
            for match in _PRIVATE.finditer(line.replace("_", " "))
        ]
    )
