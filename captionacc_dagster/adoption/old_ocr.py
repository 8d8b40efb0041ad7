"""The predecessor's ``raw-ocr.db``: one row a character, and none for a frame without text."""

from collections.abc import Iterable
from dataclasses import dataclass

from captionacc_dagster.adoption.boxes import Convention, RawBox, characters_of, convention_of, text_lines
from captionacc_dagster.adoption.old_files import Values, frame, number, old_database, rows_of, text
from modal_gpu.errors import DatabaseFileError
from modal_gpu.ocr.engine import FrameOcr, OcrLine


@dataclass(frozen=True)
class OldOcr:
    """The readings of full frames, one line of text each, and the convention of the stored boxes."""

    frames: tuple[FrameOcr, ...]
    convention: Convention

    @property
    def box_count(self) -> int:
        """Number of lines."""
        return sum(len(each.lines) for each in self.frames)


def read_old_ocr(
    data: bytes,
    frame_indices: Iterable[int] = (),
    width: int | None = None,
    height: int | None = None,
    convention: Convention | None = None,
) -> OldOcr:
    """Read a ``raw-ocr.db``.

    ``frame_indices`` are the full frames that exist: those without rows were read and have no text. Its
    confidences are a constant; they are kept. Raises :class:`DatabaseFileError` for a damaged file, and for
    boxes in pixels of a frame of unknown size.
    """
    with old_database(data, "raw-ocr.db") as connection:
        rows = rows_of(connection, "full_frame_ocr", order="box_index")
    if rows is None:
        raise DatabaseFileError("database raw-ocr.db is damaged or not ours: no such table: full_frame_ocr")
    boxes: list[RawBox] = []
    confidences: dict[tuple[int, int], float] = {}
    for row in rows:
        if (box := _raw(row)) is not None:
            boxes.append(box)
            confidence = number(row, "confidence")
            confidences[box.frame_index, box.box_index] = min(1.0, max(0.0, confidence or 0.0))
    known = convention or convention_of(boxes)
    if known == "pixels" and not (width and height):
        raise DatabaseFileError("database raw-ocr.db has boxes in pixels, and the frame's size is not known")
    lines: dict[int, list[OcrLine]] = {index: [] for index in sorted(set(frame_indices))}
    size = (width or 1, height or 1)
    aspect = width / height if width and height else None
    for line in text_lines(characters_of(boxes, known, *size), aspect):
        keys = [(c.raw.frame_index, c.raw.box_index) for c in line.characters]
        read = OcrLine(line.text(aspect), min(confidences[key] for key in keys), line.box)
        lines.setdefault(line.frame_index, []).append(read)
    return OldOcr(tuple(FrameOcr.of(index, lines[index]) for index in sorted(lines)), known)


def _raw(row: Values) -> RawBox | None:
    index, box_index = frame(row, "frame_index", "frame_id"), frame(row, "box_index", "id")
    if index is None or box_index is None:
        return None
    edges = _edges(row)
    if edges is None:
        return None
    return RawBox(index, box_index, *edges, text(row, "text") or "")


def _edges(row: Values) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """Return a row's edges: a corner and sizes, or four sides in the shape that its API expected."""
    corner = [number(row, name) for name in ("x", "y", "width", "height")]
    if None not in corner:
        x, y, width, height = (value or 0.0 for value in corner)
        return (x, x + width), (y, y + height)
    sides = [number(row, f"bbox_{side}") for side in ("left", "right", "top", "bottom")]
    if None in sides:
        return None
    left, right, top, bottom = (value or 0.0 for value in sides)
    return (left, right), (top, bottom)
