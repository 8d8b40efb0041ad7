"""The way back: a video's captions and layout in the predecessor's schema.

Files are written under its keys into a folder. Putting them into its bucket is the operator's decision; this
platform never writes there.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captionacc_dagster.adoption.old_schema import CAPTIONS, LAYOUT
from captionacc_dagster.resources.catalog import VideoRow
from modal_gpu.databases.captions import Caption, read_captions
from modal_gpu.databases.layout import LayoutFile, read_layout
from modal_gpu.databases.sqlite_file import connect, pack, utc_now
from modal_gpu.errors import ObjectNotFoundError
from modal_gpu.keys import VideoKeys
from modal_gpu.storage import ObjectStore


@dataclass(frozen=True)
class Exported:
    """The files of one video by their keys there, and what they leave out."""

    files: Mapping[str, bytes]
    notes: tuple[str, ...] = ()


def export_video(video: VideoRow, store: ObjectStore) -> Exported:
    """Return a video's ``captions.db.gz`` and ``layout.db.gz``, those that it has.

    Captions of further zones are left out, since the predecessor has one place of captions; so is what it
    has no columns for (confidences, times). Raises :class:`DatabaseFileError` for a damaged file.
    """
    keys = VideoKeys(video.tenant_id, video.video_id)
    files: dict[str, bytes] = {}
    notes: list[str] = []
    if (data := _stored(store, keys.captions_db)) is not None:
        captions = read_captions(data)
        own = [caption for caption in captions if caption.zone == 0]
        if len(own) < len(captions):
            notes.append(f"{len(captions) - len(own)} captions of further zones are left out")
        files[keys.captions_db] = old_captions_db(own)
    if (data := _stored(store, keys.layout_db)) is not None:
        files[keys.layout_db] = old_layout_db(read_layout(data))
    return Exported(files, tuple(notes))


def write_exported(exported: Exported, folder: Path) -> list[Path]:
    """Write the files under a folder, each completely or not at all; return their paths."""
    paths = []
    for key, data in exported.files.items():
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        partial.write_bytes(data)
        partial.replace(path)
        paths.append(path)
    return paths


def old_captions_db(captions: Iterable[Caption]) -> bytes:
    """Return captions as the predecessor's ``captions.db.gz``; the end of a row is inclusive."""
    return _packed(CAPTIONS, {"captions": [_caption_row(caption) for caption in captions]})


def _caption_row(caption: Caption) -> dict[str, Any]:
    return {
        "id": caption.id or None,
        "start_frame_index": caption.start_index,
        "end_frame_index": caption.end_index - 1,
        "caption_frame_extents_state": caption.state,
        # Its work list shows predicted captions that are pending; a certain one is not a person's decision.
        "caption_frame_extents_pending": int(caption.pending or caption.state == "predicted"),
        "caption_frame_extents_updated_at": caption.updated_at or None,
        "text": caption.text,
        "text_pending": int(caption.text_pending),
        "text_status": caption.text_status,
        "text_notes": caption.text_notes,
        "caption_ocr": caption.ocr_text,
        "text_updated_at": caption.text_updated_at,
        "image_needs_regen": int(caption.image_needs_regen),
        "caption_ocr_status": caption.ocr_status,
        "caption_ocr_error": caption.ocr_error,
        "caption_ocr_processed_at": caption.ocr_processed_at,
        "created_at": caption.created_at or None,
    }


def old_layout_db(layout: LayoutFile) -> bytes:
    """Return a layout as the predecessor's ``layout.db.gz``: fractions, boxes measured from the bottom."""
    crop = layout.crop_region
    height = layout.frame_height
    config = {
        "id": 1,
        "frame_width": layout.frame_width,
        "frame_height": height,
        "crop_left": crop.crop_left,
        "crop_top": crop.crop_top,
        "crop_right": crop.crop_right,
        "crop_bottom": crop.crop_bottom,
        "vertical_center": layout.vertical_center,
        "box_height": None if layout.box_height is None else round(layout.box_height * height),
        "anchor_type": layout.anchor_type,
        "anchor_position": layout.anchor_position,
        "crop_region_version": layout.crop_region_version,
        "updated_at": layout.updated_at,
    }
    boxes = [
        {
            "frame_index": box.frame_index,
            "box_index": box.box_index,
            "bbox_left": box.box.left,
            "bbox_top": 1 - box.box.top,
            "bbox_right": box.box.right,
            "bbox_bottom": 1 - box.box.bottom,
            "text": box.text,
            "label": box.label,
            "label_updated_at": box.label_updated_at,
            "predicted_label": box.predicted_label,
            "predicted_confidence": box.predicted_confidence,
        }
        for box in layout.boxes
    ]
    metadata = {"id": 1, "schema_version": 1, "created_at": layout.updated_at or utc_now()}
    preferences = {"id": 1, "layout_approved": int(layout.layout_approved)}
    return _packed(
        LAYOUT,
        {
            "database_metadata": [metadata],
            "layout_config": [config],
            "preferences": [preferences],
            "boxes": boxes,
        },
    )


def _packed(schema: str, tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> bytes:
    with tempfile.TemporaryDirectory(prefix="captionacc-") as folder:
        path = Path(folder) / "old.db"
        with closing(connect(path)) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            connection.executescript(schema)
            for table, rows in tables.items():
                if rows:
                    marks = ", ".join(f":{name}" for name in rows[0])
                    query = f"INSERT INTO {table} ({', '.join(rows[0])}) VALUES ({marks})"
                    connection.executemany(query, map(dict, rows))
            return pack(connection)


def _stored(store: ObjectStore, key: str) -> bytes | None:
    try:
        return store.get(key)
    except ObjectNotFoundError:
        return None


def exported_videos(videos: Iterable[VideoRow], store: ObjectStore) -> Iterator[tuple[VideoRow, Exported]]:
    """Yield each video with its files."""
    for video in videos:
        yield video, export_video(video, store)
