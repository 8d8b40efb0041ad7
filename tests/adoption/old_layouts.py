"""Full frames, readings and layouts of the synthetic predecessor, and labels that people gave."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from modal_gpu.contracts import CropRegion
from tests.adoption import old_databases as old
from tests.adoption.old_world import OldFolder

SIZE = (1280, 720)
CROP = CropRegion(0.1, 0.8, 0.9, 0.96)
CAPTION, CLOCK = ("HELLO WORLD", 0.3, 0.86), ("12 04", 0.8, 0.05)
JPEG = b"\xff\xd8\xff\xe0 a frame"


@dataclass(frozen=True)
class LabelEdit:
    """A label of a character, by its frame and its centre in fractions from the top left."""

    frame: int
    x: float
    y: float
    label: str


def put_frames(folder: OldFolder, frames: int) -> list[int]:
    indices = list(range(0, frames - frames % 100 or 100, 100))
    for index in indices:
        folder.client(f"full_frames/frame_{index:06d}.jpg", JPEG)
        folder.client(f"full_frames_thumbnails/frame_{index:06d}.jpg", JPEG)
    return indices


def box_rows(
    indices: Sequence[int], convention: str, labels: Mapping[str, str] | None = None
) -> tuple[list[old.Row], list[LabelEdit]]:
    """A caption and a clock on each frame but the last, character by character; labels by line's text."""
    rows, edits = [], []
    for index in indices[:-1] or indices:
        number = 0
        for line in (CAPTION, CLOCK):
            for text, left, top, right, bottom in old.characters(*line):
                label = (labels or {}).get(line[0]) if index == indices[0] else None
                edges = stored_edges((left, top, right, bottom), convention)
                rows.append(
                    {
                        "frame_index": index,
                        "box_index": number,
                        "text": text,
                        "label": label,
                        "label_updated_at": "2026-01-22T08:00:00" if label else None,
                        "predicted_label": "in" if line is CAPTION else "out",
                        "predicted_confidence": 0.7,
                        **dict(
                            zip(("bbox_left", "bbox_bottom", "bbox_right", "bbox_top"), edges, strict=True)
                        ),
                    }
                )
                if label:
                    edits.append(LabelEdit(index, (left + right) / 2, (top + bottom) / 2, label))
                number += 1
    return rows, edits


def stored_edges(
    box: tuple[float, float, float, float], convention: str
) -> tuple[float, float, float, float]:
    """Left, bottom, right, top as its code built them: left = x, bottom = y, right = x + w, top = y + h."""
    left, top, right, bottom = box
    x, y, width, height = left, top, right - left, bottom - top
    if convention == "bottom-left":
        y = 1 - bottom
    elif convention == "pixels":
        x, width, y, height = x * SIZE[0], width * SIZE[0], y * SIZE[1], height * SIZE[1]
    return x, y, x + width, y + height


def put_layout(
    folder: OldFolder,
    frames: int,
    *,
    convention: str = "bottom-left",
    crop: Sequence[float] | None = None,
    labels: Mapping[str, str] | None = None,
    approved: bool = False,
    older: bool = False,
) -> list[LabelEdit]:
    """Full frames, raw-ocr.db.gz, layout.db.gz and layout-server.db.gz; the labels that people gave."""
    indices = put_frames(folder, frames)
    rows, edits = box_rows(indices, convention, labels)
    ocr = [
        {
            "frame_index": row["frame_index"],
            "box_index": row["box_index"],
            "text": row["text"],
            "confidence": 1.0,
            "x": row["bbox_left"],
            "y": row["bbox_bottom"],
            "width": row["bbox_right"] - row["bbox_left"],
            "height": row["bbox_top"] - row["bbox_bottom"],
        }
        for row in rows
    ]
    sides = crop or (CROP.crop_left, CROP.crop_top, CROP.crop_right, CROP.crop_bottom)
    config = {"id": 1, "frame_width": SIZE[0], "frame_height": SIZE[1], "anchor_type": "center"}
    config |= dict(zip(("crop_left", "crop_top", "crop_right", "crop_bottom"), sides, strict=True))
    config |= {"vertical_center": 0.89, "anchor_position": 0.5, "crop_region_version": int(approved)}
    preferences = {"id": 1, "layout_approved": int(approved)}
    if older:
        own = [
            {"label_source": "user", "label": row["label"]}
            | {k: row[k] for k in ("frame_index", "box_index")}
            for row in rows
            if row["label"]
        ]
        bare = [{k: v for k, v in row.items() if not k.startswith("label")} for row in rows]
        data = old.database(
            old.OLDER_LAYOUT,
            boxes=bare,
            video_layout_config=[config],
            video_preferences=[preferences],
            full_frame_box_labels=own,
        )
    else:
        data = old.database(old.LAYOUT, boxes=rows, layout_config=[config], preferences=[preferences])
    folder.client("layout.db.gz", data)
    folder.server("raw-ocr.db.gz", old.database(old.RAW_OCR, full_frame_ocr=ocr))
    folder.server("layout-server.db.gz", old.database(old.LAYOUT_SERVER))
    return edits
