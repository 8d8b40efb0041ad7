"""Chunks and captions of the synthetic predecessor, and what people did in its captions."""

from dataclasses import dataclass
from typing import Any

from modal_gpu.frame_index import CHUNK_MEMBERS, ChunkRef, chunks
from tests.adoption import old_databases as old
from tests.adoption.old_world import OldFolder

RANGES = ((10, 40), (50, 90), (100, 101), (120, 160))


@dataclass(frozen=True)
class CaptionEdit:
    """A caption that a person confirmed or edited, with its frames half-open."""

    start: int
    end: int
    text: str | None
    state: str = "confirmed"
    status: str | None = None
    notes: str | None = None


def put_chunks(folder: OldFolder, frames: int, *, where: str = "without_client") -> None:
    """The chunks as its newest code stored them: without the last, incomplete one of each level."""
    put = getattr(folder, where)
    for ref in chunks(frames):
        if len(ref.members(frames)) == CHUNK_MEMBERS:
            put(chunk_name(ref), b"\x1aE\xdf\xa3 " + str(ref).encode())


def chunk_name(ref: ChunkRef, version: int = 1) -> str:
    return f"cropped_frames_v{version}/modulo_{ref.level}/chunk_{ref.first_index:010d}.webm"


def caption(start: int, end: int, **columns: Any) -> old.Row:
    """A row with the half-open range; stored inclusive."""
    return {
        "start_frame_index": start,
        "end_frame_index": end - 1,
        "created_at": "2026-01-21T10:02:00",
        **columns,
    }


def predicted(**columns: Any) -> list[old.Row]:
    return [caption(start, end, **columns) for start, end in RANGES]


READ = {"caption_ocr": "HELLO WORLD", "caption_ocr_status": "completed"}


def edited(**more: Any) -> tuple[list[old.Row], list[CaptionEdit]]:
    """Captions of which a person confirmed, corrected, emptied, shortened and annotated some."""
    rows = [
        caption(10, 40, caption_frame_extents_state="confirmed", caption_frame_extents_pending=0, **more),
        caption(40, 50, caption_frame_extents_state="gap", caption_frame_extents_pending=0),
        caption(50, 88, text="Hello, world", text_pending=0, text_status="valid_caption", **more),
        caption(100, 101, text="", text_pending=0, **more),
        caption(120, 160, caption_frame_extents_pending=0, text_notes="hard to read", **more),
        caption(165, 180, **more),
    ]
    edits = [
        CaptionEdit(10, 40, None),
        CaptionEdit(40, 50, None, "gap"),
        CaptionEdit(50, 88, "Hello, world", "predicted", "valid_caption"),
        CaptionEdit(100, 101, "", "predicted"),
        CaptionEdit(120, 160, None, "confirmed", None, "hard to read"),
    ]
    return rows, edits
