"""The pages for people: every link, path and module that they name exists."""

import re
from functools import cache
from pathlib import Path

import pytest

from tests.test_arrows import FLOORS

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = sorted(
    str(page.relative_to(REPOSITORY))
    for folder, pattern in [
        (".", "*.md"),
        (".github", "*.md"),
        ("docs", "**/*.md"),
        ("deploy", "*.md"),
        ("training", "*.md"),
        ("benchmarks", "*.md"),
        ("modal_gpu/extents/models", "*.md"),
    ]
    for page in (REPOSITORY / folder).glob(pattern)
)
#: Not in the repository: a file that the reader makes, and a name of Kubernetes.
NO_PATHS = {"deploy/.env", "deploy/captionacc-metrics"}
#: Folders whose paths are spelt from the repository's root.
FOLDERS = (
    "captionacc_dagster|modal_gpu|supabase|schema_migrations|tests|benchmarks|training|deploy|docs|docs_site"
)


def without_blocks(text: str) -> str:
    """Return the text of a page without its fenced blocks."""
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)


def anchor(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w -]", "", plain.lower()).replace(" ", "-")


@cache
def anchors(page: Path) -> frozenset[str]:
    """Return the anchors of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", without_blocks(page.read_text(encoding="utf-8")), re.MULTILINE)
    return frozenset(map(anchor, headings))


def broken_links(page: Path) -> list[str]:
    """Return the relative links of a page that lead to no file, or to no heading of it."""
    text = without_blocks(page.read_text(encoding="utf-8"))
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, heading = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (heading and heading not in anchors(target)):
            broken.append(link)
    return broken


def lost_paths(text: str) -> list[str]:
    """Return the paths of the repository that a text names and that do not exist.

    Left out are paths with a placeholder, and those of an earlier commit (``COMMIT:PATH``).
    """
    named = re.findall(rf"(?<![\w/.:-])((?:{FOLDERS})/[\w./-]*)(?![\w{{*…]*[{{*…])", text)
    paths = {path.rstrip(".") for path in named}
    return sorted(path for path in paths - NO_PATHS if not (REPOSITORY / path).exists())


def lost_modules(text: str) -> list[str]:
    """Return the modules of the repository that a text runs with ``python -m`` and that do not exist."""
    modules = set(re.findall(rf"python -m ((?:{FOLDERS})(?:\.\w+)*)", text))
    files = {module: REPOSITORY / module.replace(".", "/") for module in modules}
    return sorted(
        module
        for module, file in files.items()
        if not file.with_suffix(".py").exists() and not (file / "__main__.py").exists()
    )


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_exists(page: str):
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    assert broken_links(REPOSITORY / page) == []
    assert lost_paths(text) == []
    assert lost_modules(text) == []


@pytest.mark.parametrize("folder", ["captionacc_dagster", "modal_gpu", "benchmarks", "training", "deploy"])
def test_pages_that_the_code_refers_to_exist(folder: str):
    files = [*(REPOSITORY / folder).rglob("*.py"), *(REPOSITORY / folder).glob("*.yaml")]
    texts = "\n".join(file.read_text(encoding="utf-8") for file in files)
    named = set(re.findall(r"\b((?:docs|deploy|benchmarks|training)/[\w/-]+\.md)(?:#([\w-]+))?", texts))
    assert files
    assert [page for page, _ in named if not (REPOSITORY / page).is_file()] == []
    assert [f"{page}#{part}" for page, part in named if part and part not in anchors(REPOSITORY / page)] == []


def test_the_readme_leads_to_every_page():
    seen, waiting = set(), [REPOSITORY / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen:
            continue
        seen.add(page)
        links = re.findall(r"\]\(([^)\s#]+\.md)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        waiting += [(page.parent / link).resolve() for link in links if "://" not in link]
    templates = {page for page in PAGES if page.startswith(".github/")}
    assert set(PAGES) - templates <= {str(page.relative_to(REPOSITORY)) for page in seen}


def test_the_architecture_page_has_the_floors_that_the_imports_keep():
    page = (REPOSITORY / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    table = re.search(r"^\| floor .*?\n\n", page, re.DOTALL | re.MULTILINE)
    assert table is not None
    rows: dict[str, int] = {}
    for number, row in enumerate(table.group().splitlines()):
        for room in re.findall(r"\]\(\.\./\.\./captionacc_dagster/(\w+)(?:\.py)?\)", row):
            rows[room] = number
    rooms = [room for floor in FLOORS for room in floor if room != "__init__"]
    assert set(rows) == set(rooms)
    assert [rows[room] for room in rooms] == sorted(rows.values())


def test_names_that_the_architecture_page_says_are_in_a_module_are_there():
    page = REPOSITORY / "docs" / "explanation" / "architecture.md"
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`([\w.]+)`[^`\[|]{0,40}?\s(?:in|from)\s+(?:the\s+)?\[[^\]]*\]\(([^)]+\.py)\)", text)
    assert len(named) >= 3
    for name, link in named:
        assert name.rpartition(".")[2] in (page.parent / link).read_text(encoding="utf-8"), name


def test_what_does_not_exist_is_noticed(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("# A *page*: one\n[a](#a-page-one) [b](#b) [c](c.md) [d](https://example.org/d.md)\n")
    assert broken_links(page) == ["#b", "c.md"]
    assert lost_paths("`docs/nothing.md`, `tests/conftest.py`, `modal_gpu/…` and abc:training/gone.py.") == [
        "docs/nothing.md"
    ]
    assert lost_modules("python -m training.train, python -m benchmarks.nothing") == ["benchmarks.nothing"]
