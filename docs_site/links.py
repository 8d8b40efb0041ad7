"""Links of pages: to other pages of the site, and to files of the repository that are not in it."""

import posixpath
import re
from collections.abc import Mapping
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Pages of the site that are not in ``docs/``, by their path in the repository.
OUTSIDE = {
    "CHANGELOG.md": "project/changes.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "deploy/README.md": "how-to/deploying.md",
    "benchmarks/RESULTS.md": "explanation/results.md",
    "training/README.md": "explanation/training.md",
    "modal_gpu/extents/models/extents-10_46683611.md": "explanation/model-card.md",
}
_FENCED = re.compile(r"(^ *```.*?^ *```|^ *~~~.*?^ *~~~)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(?P<before>!?)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<link>[^)\s]+)\)")


def repository_path(page: str, outside: Mapping[str, str] = OUTSIDE) -> str:
    """Return where in the repository a page of the site comes from."""
    back = {there: here for here, there in outside.items()}
    return back.get(page, f"docs/{page}")


def site_path(path: str, outside: Mapping[str, str] = OUTSIDE) -> str | None:
    """Return the page or picture of the site that a file of the repository is, or ``None``."""
    if path == "README.md":
        return "index.md"
    if path in outside:
        return outside[path]
    return path.removeprefix("docs/") if path.startswith("docs/") and (ROOT / path).is_file() else None


def with_site_links(markdown: str, page: str, repository_url: str = "") -> str:
    """Return a page's Markdown with links that work in the site. ``page`` is its path there.

    A link to a file that is not in the site leads to ``repository_url``. Without one, its text remains, and
    shows the path when it is pointed at.
    """
    source = repository_path(page)

    def rewrite(match: re.Match[str]) -> str:
        link = match["link"]
        path, mark, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link) or not path:
            return match[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if (there := site_path(target)) is not None:
            relative = posixpath.relpath(there, posixpath.dirname(page) or ".")
            return f"{match['before']}[{match['text']}]({relative}{mark}{anchor})"
        if not (ROOT / target).exists():
            return match[0]  # MkDocs reports it.
        if repository_url:
            return f"{match['before']}[{match['text']}]({repository_url}/{target}{mark}{anchor})"
        return f'<span title="{escape(target)}">{match["text"]}</span>'

    parts = _FENCED.split(markdown)
    return "".join(part if number % 2 else _LINK.sub(rewrite, part) for number, part in enumerate(parts))
