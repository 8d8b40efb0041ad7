"""The decision on a video's full frames, OCR and layout."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from captionacc_dagster.adoption.files import OldFiles
from captionacc_dagster.adoption.old_layout import OldLayout, crop_region_of
from captionacc_dagster.adoption.old_ocr import OldOcr
from captionacc_dagster.adoption.parts import Part
from captionacc_dagster.adoption.predecessor import Predecessor
from captionacc_dagster.adoption.rows import OldVersion, OldVideo
from captionacc_dagster.resources.catalog.rows.record import utc
from modal_gpu.contracts import CropRegion
from modal_gpu.databases.layout import LayoutFile
from modal_gpu.errors import DatabaseFileError
from modal_gpu.layout.reanalysis import layout_with_people


@dataclass(frozen=True)
class LayoutDecision:
    """The layout stage of an adopted video.

    ``file`` is written even if the stage waits for a run, which keeps the labels in it. ``crop_region`` is
    the approved one.
    """

    status: Literal["wait", "annotate", "done"] = "wait"
    file: LayoutFile | None = None
    ocr: OldOcr | None = None
    proposed: CropRegion | None = None
    crop_region: CropRegion | None = None
    approved_at: datetime | None = None
    labels: int = 0
    parts: tuple[Part, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def keeps_frames(self) -> bool:
        """True if the full frames are taken over, with or without their OCR."""
        return any(part.name == "full_frames" and part.outcome == "as_is" for part in self.parts)


def decide_layout(
    old: Predecessor, video: OldVideo, files: OldFiles, versions: Sequence[OldVersion]
) -> LayoutDecision:
    """Decide on the layout.

    Raises :class:`DatabaseFileError` for a ``layout.db`` that cannot be read, since it may hold labels, and
    :class:`RefusedVideoError`.
    """
    layout = old.layout(video, files)
    status = video.statuses["layout"]
    approved = approved_region(layout, video, versions)
    # Whatever a run makes again, the approval stays.
    kept = LayoutDecision(
        file=layout.file if layout else None,
        crop_region=approved,
        approved_at=_approved_at(layout),
        labels=len(layout.labelled) if layout else 0,
        notes=layout.notes if layout else (),
    )
    if status == "error":
        why = f"it had failed: {video.errors.get('layout', 'no message')}"
        return replace(kept, parts=(Part("layout", "run", why),))
    if status == "wait":
        return kept
    ocr, problem = _ocr(old, video, files)
    missing = _missing(layout, video, files, problem)
    if missing and approved is None:
        return replace(kept, parts=(Part("layout", "run", missing),))
    if layout is None or not video.duration_seconds or not layout.file.frame_width:
        why = missing or "the video's length or size is not in its row"
        return replace(kept, parts=(Part("layout", "run", why),))
    return _taken(kept, layout, ocr, missing, files)


def _taken(
    kept: LayoutDecision,
    layout: OldLayout,
    ocr: OldOcr | None,
    missing: str,
    files: OldFiles,
) -> LayoutDecision:
    file, notes, approved = layout.file, list(kept.notes), kept.crop_region
    if approved is not None:
        file = replace(
            file,
            crop_region=approved,
            layout_approved=True,
            crop_region_version=max(1, file.crop_region_version),
        )
    elif layout.crop_region is None and ocr is not None:
        file = layout_with_people(ocr.frames, file.frame_width, file.frame_height, file)
        notes.append("its crop region was found again from its boxes, and waits for an approval")
    if missing:
        notes.append(f"{missing}; a run of the assets full_frames and raw_ocr_db makes them")
    parts = [Part("layout", "converted")]
    if files.frames:
        parts.append(Part("full_frames", "as_is"))
    if ocr is not None:
        parts.append(Part("ocr", "converted"))
    return replace(
        kept,
        status="annotate" if approved is None else "done",
        file=file,
        ocr=ocr,
        proposed=file.crop_region,
        parts=tuple(parts),
        notes=tuple(notes),
    )


def approved_region(
    layout: OldLayout | None, video: OldVideo, versions: Sequence[OldVersion]
) -> CropRegion | None:
    """Return the region that a person approved; ``None`` if nobody did, or if it is not usable.

    The row says that the approval was sent, the file that a person gave it: its web client did not always
    send it. A version's own region is what was cropped.
    """
    is_approved = video.statuses["layout"] == "done" or (layout is not None and layout.is_approved)
    if not is_approved:
        return None
    size = (video.width, video.height) if video.width and video.height else None
    newest = sorted(versions, key=lambda version: (version.status == "active", version.version))
    cropped = [crop_region_of(version.crop_region, size) for version in reversed(newest)]
    stated = layout.crop_region if layout else None
    return next((region for region in cropped if region is not None), stated)


def _approved_at(layout: OldLayout | None) -> datetime | None:
    try:
        return utc(layout.file.updated_at) if layout and layout.file.updated_at else None
    except ValueError:
        return None


def _ocr(old: Predecessor, video: OldVideo, files: OldFiles) -> tuple[OldOcr | None, str]:
    try:
        ocr = old.ocr(video, files)
    except DatabaseFileError as error:
        return None, str(error)
    return ocr, "" if ocr else "raw-ocr.db.gz is missing"


def _missing(layout: OldLayout | None, video: OldVideo, files: OldFiles, problem: str) -> str:
    """Return what a layout needs and the video lacks."""
    if layout is None:
        return "layout.db.gz is missing"
    if not files.frames:
        short = video.duration_seconds is not None and video.duration_seconds < 10
        return "it has no full frames" + (", being shorter than 10 s" if short else "")
    return problem or ("" if layout.is_analysed else "layout.db has no boxes")
