"""Markdown tables, and text that is safe inside them."""

from collections.abc import Iterable, Sequence


def cell(text: str) -> str:
    """Return text on one line, without what would end a cell or begin an HTML tag."""
    return " ".join(text.replace("``", "`").split()).replace("|", "\\|").replace("<", "&lt;")


def code(text: str) -> str:
    """Return text as inline code in a cell; ``–`` for an empty text."""
    return f"`{' '.join(text.split())}`".replace("|", "\\|") if text else "–"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table. The cells are Markdown."""
    lines = [list(headings), ["---"] * len(headings), *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def first_paragraph(docstring: str | None) -> str:
    """Return the first paragraph of a docstring on one line, with roles of reStructuredText as code."""
    paragraph = (docstring or "").strip().partition("\n\n")[0]
    for role in (":class:", ":func:", ":meth:", ":mod:", ":data:", ":attr:"):
        paragraph = paragraph.replace(role, "")
    return " ".join(paragraph.replace("``", "`").split())
