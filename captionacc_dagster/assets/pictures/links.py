"""Pictures and tables in an event's metadata, such that the Dagster UI shows them without a click.

The UI shows a Markdown value only if it has fewer than 1,000 characters (``MetadataEntry.tsx`` of
dagster-webserver 1.13); it shows numbers, texts and tables always. So a picture is an object of the bucket,
and the event has its address at Dagster's own web server (:mod:`captionacc_dagster.web.pictures`). Those who
may open the UI may see it, for as long as the video exists, and the event's row stays small.
"""

import hashlib
import logging
from collections.abc import Callable, Sequence

import dagster as dg

from modal_gpu.errors import CaptionAccError
from modal_gpu.keys import VideoKeys
from modal_gpu.storage import ObjectStore

_log = logging.getLogger(__name__)

#: The UI hides Markdown of this length, or longer, behind a link; in UTF-16 units, as JavaScript counts.
INLINE_LENGTH = 1000
#: Path of the pictures at Dagster's web server.
PICTURES_PATH = "/captionacc/pictures"
_PNG = b"\x89PNG"

Metadata = dict[str, dg.MetadataValue]


class Gallery:
    """The pictures of one video's events."""

    def __init__(
        self, object_store: ObjectStore, keys: VideoKeys, warn: Callable[[str], object] = _log.warning
    ) -> None:
        self._object_store, self._keys, self._warn = object_store, keys, warn

    def show(self, name: str, alt: str, draw: Callable[[], bytes]) -> Metadata:
        """Draw and store a picture; return it as the metadata ``name``, or nothing if it cannot be made."""
        return self.tell(name, lambda: self.image(name, draw(), alt))

    def tell(self, name: str, write: Callable[[], str]) -> Metadata:
        """Return a Markdown text with pictures as the metadata ``name``.

        The result is published by now, so a picture that cannot be made, such as one of a damaged frame,
        fails nothing: it is left out, with a warning.
        """
        try:
            text = write()
        except Exception as error:
            reason = str(error) if isinstance(error, CaptionAccError) else f"{type(error).__name__}: {error}"
            self._warn(f"the picture {name} of video {self._keys.video_id} is left out: {reason}")
            return {}
        return {name: dg.MetadataValue.md(text)} if text else {}

    def image(self, name: str, data: bytes, alt: str) -> "Markdown":
        """Store a JPEG or PNG and return Markdown that shows it. Raises the errors of the object store."""
        kind = "png" if data.startswith(_PNG) else "jpg"
        # By its content: an earlier event keeps its own picture.
        file = f"{name}-{hashlib.sha256(data).hexdigest()[:12]}.{kind}"
        media_type = "image/png" if kind == "png" else "image/jpeg"
        self._object_store.put(self._keys.picture(file), data, media_type)
        path = f"{PICTURES_PATH}/{self._keys.tenant_id}/{self._keys.video_id}/{file}"
        return Markdown(f"![{alt}]({path})")


class Markdown(str):
    """Markdown made here, which a table does not escape."""


def short_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table with as many rows as the UI shows without a click; empty without any.

    Cells other than :class:`Markdown` are escaped and put on one line.
    """
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    for row in rows:
        line = "| " + " | ".join(_cell(cell) for cell in row) + " |"
        if js_length("\n".join([*lines, line])) >= INLINE_LENGTH:
            break
        lines.append(line)
    return "\n".join(lines) if len(lines) > 2 else ""


def table(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[object]]) -> dg.MetadataValue:
    """Return a table, which the UI shows at any length. ``columns`` are names and types.

    A float has three digits after its point at most, and a text is on one line.
    """
    records = [
        dg.TableRecord({name: _value(value) for (name, _), value in zip(columns, row, strict=True)})
        for row in rows
    ]
    schema = dg.TableSchema([dg.TableColumn(name, kind) for name, kind in columns])
    return dg.MetadataValue.table(records, schema)


def js_length(text: str) -> int:
    """Return the length of a text in JavaScript."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def one_line(text: str, most: int) -> str:
    """Return a caption's text on one line, with at most ``most`` characters."""
    line = _joined(text)
    return line if len(line) <= most else line[: most - 1] + "…"


def mean(values: Sequence[float]) -> float:
    """Return the mean; 0 of nothing."""
    return sum(values) / len(values) if values else 0.0


def _joined(value: object) -> str:
    return " / ".join(str(value).strip().splitlines())


def _value(value: object) -> str | float | bool | None:
    if isinstance(value, float):
        return round(value, 3)
    return value if isinstance(value, bool | int | None) else _joined(value)


def _cell(value: object) -> str:
    if isinstance(value, Markdown):
        return value
    text = _joined(value)
    for special in "\\`*_|<>[]":
        text = text.replace(special, "\\" + special)
    return text


def address(object_store: ObjectStore, key: str) -> dg.MetadataValue:
    """Return where an object or a prefix is, as text: its path, or an address such as ``s3://bucket/key``."""
    return dg.MetadataValue.text(object_store.address(key))
