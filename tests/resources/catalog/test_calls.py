"""The decorator of methods that call the SQL function of their name."""

from typing import Any

import pytest

from captionacc_dagster.resources.catalog.calls import CatalogCalls, sql_function
from captionacc_dagster.resources.catalog.rows.record import Row


class Item(Row):
    name: str


def calling(returned: Any):
    def items(self) -> returned:
        """Return items."""

    return sql_function()(items)


class Answering:
    """A transport whose functions all return ``rows``."""

    max_rows = None

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def call(self, function: str, arguments: dict[str, Any], *, repeatable: bool = False):
        assert (function, arguments) == ("items", {})
        return self.rows


@pytest.mark.parametrize(
    ("returned", "rows", "answer"),
    [
        (Item, [{"name": "a"}], Item(name="a")),
        (Item | None, [{"name": "a"}], Item(name="a")),
        (Item | None, [], None),
        (list[Item], [{"name": "a"}, {"name": "b"}], [Item(name="a"), Item(name="b")]),
        (list[Item], [], []),
        (int, [{"items": 3}], 3),
        (bool, [{"items": False}], False),
    ],
)
def test_the_annotation_decides_what_becomes_of_the_rows(returned, rows, answer):
    assert calling(returned)(CatalogCalls(Answering(rows))) == answer


@pytest.mark.parametrize(
    "returned",
    [list[str], dict[str, Item], tuple[Item, ...], Item | int, int | None, list, None, float],
    ids=str,
)
def test_an_annotation_that_no_conversion_fits_is_refused_when_the_class_is_made(returned):
    with pytest.raises(TypeError, match="cannot return"):
        calling(returned)
