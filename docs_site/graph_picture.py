"""A drawing of a graph as SVG, from top to bottom, in the colours of the page."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _EDGE = 220, 40, 28, 34, 8
#: Between lines that go around boxes, and between their ends at a box.
_LANE, _END = 14, 7


@dataclass(frozen=True)
class Box:
    """A node: its name, those of its parents, and the group that is written under its name."""

    name: str
    parents: Sequence[str]
    group: str
    #: Drawn with a broken line: people bring it.
    is_external: bool = False


def levels(boxes: Sequence[Box]) -> dict[str, int]:
    """Return the row of each box: one below its lowest parent. The boxes come after their parents."""
    rows: dict[str, int] = {}
    for box in boxes:
        rows[box.name] = 1 + max((rows[parent] for parent in box.parents), default=-1)
    return rows


def drawing(boxes: Sequence[Box]) -> str:
    """Return an SVG element on lines without an empty one, so that Markdown leaves it alone."""
    rows = levels(boxes)
    members: dict[int, list[Box]] = defaultdict(list)
    for box in boxes:
        members[rows[box.name]].append(box)
    widest = max(len(row) for row in members.values())
    around = [(box, parent) for box in boxes for parent in box.parents if rows[box.name] > rows[parent] + 1]
    width = widest * (_WIDTH + _GAP_X) + _GAP_X + 2 * _LANE * len(around)
    height = len(members) * (_HEIGHT + _GAP_Y) + _EDGE
    places = {
        box.name: (
            (width - len(row) * (_WIDTH + _GAP_X) + _GAP_X) / 2 + column * (_WIDTH + _GAP_X),
            _EDGE + number * (_HEIGHT + _GAP_Y),
        )
        for number, row in members.items()
        for column, box in enumerate(row)
    }
    lines = [
        _line(places[parent], places[box.name])
        for box in boxes
        for parent in box.parents
        if (box, parent) not in around
    ]
    lines += [
        _line_around(places[parent], places[box.name], _GAP_X / 2 + lane * _LANE)
        for lane, (box, parent) in enumerate(around)
    ]
    shapes = [_shape(box, *places[box.name]) for box in boxes]
    size = f'viewBox="0 0 {width} {height}" width="{width}"'
    title = "<title>The assets of a video</title>"
    return "\n".join([f'<svg class="graph" role="img" {size}>', title, *lines, *shapes, "</svg>"])


def _line(above: tuple[float, float], below: tuple[float, float]) -> str:
    x1, y1 = above[0] + _WIDTH / 2, above[1] + _HEIGHT
    x2, y2 = below[0] + _WIDTH / 2, below[1]
    middle = (y1 + y2) / 2
    return f'<path d="M{x1} {y1} C{x1} {middle} {x2} {middle} {x2} {y2}"/>'


def _line_around(above: tuple[float, float], below: tuple[float, float], distance: float) -> str:
    """Return a line on the right of the boxes of the rows in between."""
    y1, y2 = above[1] + _HEIGHT / 2 + _END, below[1] + _HEIGHT / 2 - _END
    x1, x2 = above[0] + _WIDTH, below[0] + _WIDTH
    return f'<path d="M{x1} {y1} H{max(x1, x2) + distance} V{y2} H{x2}"/>'


def _shape(box: Box, x: float, y: float) -> str:
    kind = "external" if box.is_external else "made"
    middle = x + _WIDTH / 2
    return (
        f'<rect class="{kind}" x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="5"/>'
        f'<text x="{middle}" y="{y + 18}">{escape(box.name)}</text>'
        f'<text class="group" x="{middle}" y="{y + 33}">{escape(box.group)}</text>'
    )
