"""The choice of situations by their names."""

from collections.abc import Iterator, Sequence

from benchmarks.situations import ends, scenes  # noqa: F401 (they register their situations)
from benchmarks.situations.building import registered
from benchmarks.situations.model import Situation


def names() -> list[str]:
    """Return the names of all situations, in the order of the table."""
    return list(registered())


def chosen(names: Sequence[str]) -> Iterator[Situation]:
    """Make the situations of these names, all of them for none. Raises ``KeyError`` for an unknown name."""
    for name in names or registered():
        yield registered()[name]()
