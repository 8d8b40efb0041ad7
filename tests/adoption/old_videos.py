"""Videos of the synthetic predecessor in each state, with each known defect, and what people did in them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg.types.json import Jsonb

from modal_gpu.contracts import CropRegion
from tests.adoption import old_databases as old
from tests.adoption.old_captions import (
    RANGES,
    READ,
    CaptionEdit,
    caption,
    edited,
    predicted,
    put_chunks,
)
from tests.adoption.old_layouts import CAPTION, CLOCK, CROP, SIZE, LabelEdit, put_layout
from tests.adoption.old_world import OldFolder, OldWorld

#: Every level of 512 frames ends with a full chunk, so that nothing is lost with the tails.
WHOLE, TAILS = 512, 184


@dataclass
class Made:
    """A video of the predecessor: its kind, what the report must say of it, and people's work."""

    folder: OldFolder
    kind: str
    verdict: str
    captions: list[CaptionEdit] = field(default_factory=list)
    labels: list[LabelEdit] = field(default_factory=list)
    approval: CropRegion | None = None
    reviewed: tuple[str, ...] = ()

    @property
    def video_id(self) -> str:
        return self.folder.video_id

    @property
    def edits(self) -> int:
        """The number of things that people did."""
        return len(self.captions) + len(self.labels) + len(self.reviewed) + (self.approval is not None)


Maker = Callable[[OldWorld, str, str], Made]
KINDS: dict[str, Maker] = {}


def kind(make: Maker) -> Maker:
    KINDS[make.__name__] = make
    return make


def row(frames: int, **statuses: str) -> dict[str, Any]:
    """The columns that the first flow fills, and the statuses."""
    stages = {f"{stage}_status": status for stage, status in statuses.items()}
    # frames with text only, as its newest code counted them
    return {"duration_seconds": frames / 10, "width": SIZE[0], "height": SIZE[1], "total_frames": 3, **stages}


def finished(
    world: OldWorld, tenant: str, name: str, frames: int, text: str = "wait", boundaries: str = "annotate"
) -> OldFolder:
    """A video up to its extents, with everything complete."""
    statuses = {"layout": "done", "boundaries": boundaries, "text": text}
    folder = world.video(tenant, name, current_cropped_frames_version=1, **row(frames, **statuses))
    put_layout(folder, frames, approved=True)
    folder.server("caption_frame_extents.db.gz", old.extents(frames, RANGES))
    return folder


# The kinds. Each is named for what is the matter with it.


@kind
def waiting(world: OldWorld, tenant: str, name: str) -> Made:
    return Made(world.video(tenant, name), "waiting", "as_is")


@kind
def upload_missing(world: OldWorld, tenant: str, name: str) -> Made:
    return Made(world.video(tenant, name, upload=None), "upload_missing", "refused")


@kind
def upload_empty(world: OldWorld, tenant: str, name: str) -> Made:
    return Made(world.video(tenant, name, upload=b""), "upload_empty", "refused")


@kind
def deleted(world: OldWorld, tenant: str, name: str) -> Made:
    gone = datetime(2026, 1, 25, tzinfo=UTC)
    return Made(world.video(tenant, name, deleted_at=gone), "deleted", "refused")


@kind
def laid_out(world: OldWorld, tenant: str, name: str) -> Made:
    folder = world.video(tenant, name, **row(WHOLE, layout="annotate"))
    put_layout(folder, WHOLE)
    return Made(folder, "laid_out", "converted")


@kind
def in_review(world: OldWorld, tenant: str, name: str) -> Made:
    folder = world.video(tenant, name, **row(WHOLE, layout="review"))
    put_layout(folder, WHOLE, older=True)
    return Made(folder, "in_review", "converted")


@kind
def labelled(world: OldWorld, tenant: str, name: str) -> Made:
    folder = world.video(tenant, name, **row(WHOLE, layout="annotate"))
    labels = put_layout(folder, WHOLE, labels={CAPTION[0]: "in", CLOCK[0]: "out"})
    return Made(folder, "labelled", "converted", labels=labels)


@kind
def labelled_in_pixels(world: OldWorld, tenant: str, name: str) -> Made:
    """Its crop region was computed from pixels as if they were fractions."""
    folder = world.video(tenant, name, **row(WHOLE, layout="annotate"))
    labels = put_layout(
        folder,
        WHOLE,
        convention="pixels",
        crop=(0.0, -312.5, 1.0, 0.02),
        labels={CAPTION[0]: "in", CLOCK[0]: "clear"},
    )
    return Made(folder, "labelled_in_pixels", "converted", labels=labels)


@kind
def labels_in_their_own_table(world: OldWorld, tenant: str, name: str) -> Made:
    folder = world.video(tenant, name, **row(WHOLE, layout="annotate"))
    labels = put_layout(folder, WHOLE, older=True, labels={CLOCK[0]: "out"})
    return Made(folder, "labels_in_their_own_table", "converted", labels=labels)


@kind
def facts_not_in_the_row(world: OldWorld, tenant: str, name: str) -> Made:
    """Its flow did not mind when it could not write length and size."""
    folder = world.video(tenant, name, layout_status="annotate")
    labels = put_layout(folder, WHOLE, labels={CAPTION[0]: "in"})
    return Made(folder, "facts_not_in_the_row", "run", labels=labels)


@kind
def approved_in_the_file_only(world: OldWorld, tenant: str, name: str) -> Made:
    """Its web client did not send the approval."""
    folder = world.video(tenant, name, **row(WHOLE, layout="annotate"))
    put_layout(folder, WHOLE, approved=True)
    return Made(folder, "approved_in_the_file_only", "converted", approval=CROP)


@kind
def texts_failed(world: OldWorld, tenant: str, name: str) -> Made:
    """One caption was read, one had failed, and the flow too."""
    folder = finished(world, tenant, name, WHOLE, text="error")
    world.update(folder.video_id, text_error_details=Jsonb({"message": "function not found"}))
    put_chunks(folder, WHOLE)
    rows = [
        caption(10, 40, **READ),
        caption(50, 90, caption_ocr_status="error", caption_ocr_error="function not found"),
    ]
    folder.client("captions.db.gz", old.database(old.CAPTIONS, captions=rows))
    return Made(folder, "texts_failed", "run", approval=CROP)


@kind
def too_short_for_frames(world: OldWorld, tenant: str, name: str) -> Made:
    folder = world.video(tenant, name, **row(80, layout="annotate"))
    folder.client(
        "layout.db.gz", old.database(old.LAYOUT, layout_config=[{"id": 1}], preferences=[{"id": 1}])
    )
    return Made(folder, "too_short_for_frames", "run")


@kind
def layout_failed(world: OldWorld, tenant: str, name: str) -> Made:
    details = {"message": "extract failed", "error": "CUDA out of memory"}
    return Made(
        world.video(tenant, name, layout_status="error", layout_error_details=details), "layout_failed", "run"
    )


@kind
def approved(world: OldWorld, tenant: str, name: str) -> Made:
    folder = world.video(tenant, name, **row(WHOLE, layout="done"))
    labels = put_layout(folder, WHOLE, convention="top-left", approved=True, labels={CAPTION[0]: "in"})
    return Made(folder, "approved", "converted", labels=labels, approval=CROP)


@kind
def approved_in_pixels(world: OldWorld, tenant: str, name: str) -> Made:
    """The newest web client stored the region in pixels."""
    folder = world.video(tenant, name, **row(WHOLE, layout="done"))
    crop = [side * SIZE[place % 2] for place, side in enumerate((0.1, 0.8, 0.9, 0.95))]
    put_layout(folder, WHOLE, crop=crop, approved=True)
    return Made(folder, "approved_in_pixels", "converted", approval=CropRegion(0.1, 0.8, 0.9, 0.95))


@kind
def captions_predicted(world: OldWorld, tenant: str, name: str) -> Made:
    folder = finished(world, tenant, name, WHOLE)
    put_chunks(folder, WHOLE)
    folder.client("captions.db.gz", old.database(old.CAPTIONS, captions=predicted()))
    return Made(folder, "captions_predicted", "converted", approval=CROP)


@kind
def captions_edited(world: OldWorld, tenant: str, name: str) -> Made:
    folder = finished(world, tenant, name, WHOLE, text="annotate")
    put_chunks(folder, WHOLE, where="client")
    rows, edits = edited(**READ)
    # plain in spite of its name
    folder.client("captions.db.gz", old.database(old.CAPTIONS, gzipped=False, captions=rows))
    return Made(folder, "captions_edited", "converted", captions=edits, approval=CROP)


@kind
def captions_reviewed(world: OldWorld, tenant: str, name: str) -> Made:
    """Under the older names of columns, and reviewed to the end."""
    folder = finished(world, tenant, name, WHOLE, text="done", boundaries="done")
    put_chunks(folder, WHOLE)
    rows, edits = edited()
    for each in rows:
        each.update(caption_ocr="HELLO WORLD", median_ocr_status="complete")
    rows.append(caption(200, 220, caption_frame_extents_state="issue", text="?"))
    edits.append(CaptionEdit(200, 220, "?", "issue"))
    folder.client("captions.db.gz", old.database(old.OLDER_CAPTIONS, captions=rows))
    return Made(
        folder, "captions_reviewed", "converted", edits, approval=CROP, reviewed=("boundaries", "text")
    )


@kind
def captions_missing(world: OldWorld, tenant: str, name: str) -> Made:
    """Its newest flow had no code that made them."""
    folder = finished(world, tenant, name, WHOLE)
    put_chunks(folder, WHOLE)
    return Made(folder, "captions_missing", "converted", approval=CROP)


@kind
def tails_lost(world: OldWorld, tenant: str, name: str) -> Made:
    folder = finished(world, tenant, name, TAILS, text="annotate")
    put_chunks(folder, TAILS)
    rows, edits = edited(**READ)
    folder.client("captions.db.gz", old.database(old.CAPTIONS, captions=rows))
    return Made(folder, "tails_lost", "run", captions=edits, approval=CROP)


@kind
def chunks_overlap(world: OldWorld, tenant: str, name: str) -> Made:
    folder = finished(world, tenant, name, WHOLE)
    for level in (16, 4, 1):
        for first in range(0, WHOLE, 32 * level):
            folder.client(f"cropped_frames_v1/modulo_{level}/chunk_{first:010d}.webm", b"webm")
    folder.client("captions.db.gz", old.database(old.CAPTIONS, captions=predicted(**READ)))
    return Made(folder, "chunks_overlap", "run", approval=CROP)


@kind
def pairs_missing(world: OldWorld, tenant: str, name: str) -> Made:
    """A frame could not be decoded, and its neighbours were stored as a pair."""
    folder = finished(world, tenant, name, WHOLE)
    put_chunks(folder, WHOLE)
    folder.server("caption_frame_extents.db.gz", old.extents(WHOLE, RANGES, without=(77,)))
    rows, edits = edited(**READ)
    folder.client("captions.db.gz", old.database(old.CAPTIONS, captions=rows))
    return Made(folder, "pairs_missing", "run", captions=edits, approval=CROP)


@kind
def labels_invented(world: OldWorld, tenant: str, name: str) -> Made:
    folder = finished(world, tenant, name, WHOLE)
    put_chunks(folder, WHOLE)
    data = old.extents(WHOLE, RANGES, model="placeholder_model_v1")
    folder.server("caption_frame_extents.db.gz", data)
    folder.client("captions.db.gz", old.database(old.CAPTIONS, captions=predicted()))
    return Made(folder, "labels_invented", "run", approval=CROP)


@kind
def boundaries_failed(world: OldWorld, tenant: str, name: str) -> Made:
    details = {"message": "crop_and_infer failed", "error": "'numpy.ndarray' object has no attribute 'cpu'"}
    columns = row(WHOLE, layout="done", boundaries="error") | {"boundaries_error_details": details}
    folder = world.video(tenant, name, **columns)
    put_layout(folder, WHOLE, approved=True)
    return Made(folder, "boundaries_failed", "run", approval=CROP)


@kind
def captions_damaged(world: OldWorld, tenant: str, name: str) -> Made:
    folder = finished(world, tenant, name, WHOLE)
    put_chunks(folder, WHOLE)
    folder.client("captions.db.gz", old.database(old.CAPTIONS, captions=predicted())[:200])
    return Made(folder, "captions_damaged", "refused")


@kind
def edit_unusable(world: OldWorld, tenant: str, name: str) -> Made:
    folder = finished(world, tenant, name, WHOLE)
    put_chunks(folder, WHOLE)
    wrong = caption(60, 50, text="where does it begin?")
    folder.client("captions.db.gz", old.database(old.CAPTIONS, captions=[*predicted(), wrong]))
    return Made(folder, "edit_unusable", "refused")


@kind
def being_edited(world: OldWorld, tenant: str, name: str) -> Made:
    made = captions_edited(world, tenant, name)
    now = datetime.now(UTC)
    world.insert(
        "video_database_state",
        video_id=made.video_id,
        database_name="captions",
        tenant_id=tenant,
        lock_holder_user_id="7d9f6a1e-2f5f-4a0f-9a4f-0d8f4b2d7c11",
        lock_type="client",
        locked_at=now - timedelta(minutes=40),
        last_activity_at=now - timedelta(minutes=2),
    )
    return Made(made.folder, "being_edited", "refused")


@kind
def lock_left_behind(world: OldWorld, tenant: str, name: str) -> Made:
    """Its system locks never expire; a flow that died left this one."""
    made = captions_edited(world, tenant, name)
    world.insert(
        "video_database_state",
        video_id=made.video_id,
        database_name="layout",
        tenant_id=tenant,
        lock_type="server",
        locked_at=datetime.now(UTC) - timedelta(days=2),
    )
    return Made(made.folder, "lock_left_behind", "converted", captions=made.captions, approval=CROP)


@kind
def odd_storage_key(world: OldWorld, tenant: str, name: str) -> Made:
    folder = world.video(tenant, name, storage_key=f"uploads/{name}")
    return Made(folder, "odd_storage_key", "as_is")


def make_all(world: OldWorld, tenants: Sequence[str], count: int) -> list[Made]:
    """``count`` videos of all kinds in turn, over the tenants in turn."""
    makers = list(KINDS.values())
    return [
        makers[number % len(makers)](world, tenants[number % len(tenants)], f"clip {number:03d}.mp4")
        for number in range(count)
    ]
