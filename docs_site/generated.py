"""The parts of pages that are made from the code: ``<!-- generated: NAME -->`` on a line of its own."""

import re
from collections.abc import Callable
from functools import cache

from docs_site.asset_graph import asset_reference
from docs_site.catalogue_tables import table_reference
from docs_site.client_databases import database_reference
from docs_site.command_pages import command_reference
from docs_site.errors import error_reference
from docs_site.metrics import metric_reference
from docs_site.routes import route_reference
from docs_site.sql_functions import function_reference
from docs_site.storage_keys import key_reference

PARTS: dict[str, Callable[[], str]] = {
    "assets": asset_reference,
    "catalogue-tables": table_reference,
    "client-databases": database_reference,
    "commands": command_reference,
    "errors": error_reference,
    "metrics": metric_reference,
    "routes": route_reference,
    "sql-functions": function_reference,
    "storage-keys": key_reference,
}
_MARK = re.compile(r"^<!-- generated: ([\w-]+) -->$", re.MULTILINE)


class UnknownPartError(ValueError):
    """A page that asks for a part that nothing makes."""


@cache
def part(name: str) -> str:
    """Return a part as Markdown. Raises :class:`UnknownPartError`."""
    if name not in PARTS:
        raise UnknownPartError(f"nothing makes the part {name!r}: there are {', '.join(PARTS)}")
    return PARTS[name]()


def names_in(page: str) -> list[str]:
    """Return the parts that a page asks for."""
    return _MARK.findall(page)


def with_parts(page: str) -> str:
    """Return a page with its parts in place of their marks."""
    return _MARK.sub(lambda mark: part(mark[1]), page)
