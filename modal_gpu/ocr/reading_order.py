"""Joining of pieces to text lines, and ordering of lines as people read them."""

import re
from collections.abc import Sequence

from modal_gpu.ocr.engine import Box, OcrLine

#: Two boxes are pieces of one line if they overlap vertically by this share of the smaller height, the
#: larger height is at most this multiple of the smaller, and the gap is at most this many smaller heights.
_SAME_ROW_SHARE, _SAME_ROW_HEIGHTS, _SAME_ROW_GAP = 0.6, 1.6, 1.5


def join_pieces(lines: Sequence[OcrLine], aspect: float) -> list[OcrLine]:
    """Join a detector's pieces to text lines, ordered top to bottom and left to right.

    ``aspect`` is the image's width divided by its height. Pieces are joined with a space, or directly
    between CJK characters close together. The confidence is the mean weighted by text length.
    """
    joined: list[OcrLine] = []
    for line in sorted(lines, key=lambda line: line.box.left):
        for place, left in enumerate(joined):
            if _same_row(left.box, line.box, aspect):
                joined[place] = _joined(left, line, aspect)
                break
        else:
            joined.append(line)
    return in_reading_order(joined)


def _same_row(left: Box, right: Box, aspect: float) -> bool:
    low, high = sorted((left.height, right.height))
    shared = min(left.bottom, right.bottom) - max(left.top, right.top)
    gap = (right.left - left.right) * aspect
    return (
        shared >= _SAME_ROW_SHARE * low
        and high <= _SAME_ROW_HEIGHTS * low
        and -0.5 * low <= gap <= _SAME_ROW_GAP * low
    )


def _joined(left: OcrLine, right: OcrLine, aspect: float) -> OcrLine:
    gap = (right.box.left - left.box.right) * aspect
    close = gap < 0.3 * min(left.box.height, right.box.height)
    between = "" if close and is_cjk(left.text[-1]) and is_cjk(right.text[0]) else " "
    weight = len(left.text) / (len(left.text) + len(right.text))
    return OcrLine(
        left.text + between + right.text,
        left.confidence * weight + right.confidence * (1 - weight),
        left.box.union(right.box),
    )


def in_reading_order(lines: Sequence[OcrLine]) -> list[OcrLine]:
    """Sort lines top to bottom, then left to right in a row.

    A line belongs to a row if its vertical centre lies inside the row's first line.
    """
    rows: list[list[OcrLine]] = []
    for line in sorted(lines, key=lambda line: line.box.center_y):
        if rows and rows[-1][0].box.top <= line.box.center_y <= rows[-1][0].box.bottom:
            rows[-1].append(line)
        else:
            rows.append([line])
    return [line for row in rows for line in sorted(row, key=lambda line: line.box.left)]


def is_cjk(character: str) -> bool:
    """Return whether a character belongs to a script written without spaces: Han, kana."""
    return bool(re.match("[\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]", character))
