"""Lists whose items go on below their first line, indented to its text."""

from markdown import Markdown
from markdown.extensions import Extension


class ThreeColumns(Extension):  # type: ignore[misc]
    """Continues a numbered item with blocks that are indented by three columns, as GitHub does.

    Python-Markdown expects four, and otherwise begins another list with number 1. It must be the first
    extension: the parsers are built again, since their expressions contain the number of columns.
    """

    def extendMarkdown(self, md: Markdown) -> None:
        """Build the parsers for three columns."""
        md.tab_length = 3
        md.build_parser()
