"""The captions of a video file: layout, extents and texts, one after the other, in this process.

The functions are those that the graph calls, on a bucket that is a temporary folder. Two things differ: no
chunks are encoded, and a caption's picture is the median of frames of the running pass, not of decoded ones.
"""

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from modal_gpu.captions.decoded import DecodedExtents
from modal_gpu.captions.growth import Growing
from modal_gpu.captions.subtitles import SubtitleFormat, encoded
from modal_gpu.captions.zones import apply_zones, merge_zones, read_zones
from modal_gpu.contracts import (
    CropInferRequest,
    CropRegion,
    ExtractRequest,
    ExtractResult,
    Progress,
    crop_regions,
    no_progress,
)
from modal_gpu.databases.captions import Caption, read_captions, write_captions
from modal_gpu.databases.layout import LayoutFile, read_layout
from modal_gpu.errors import CaptionAccError
from modal_gpu.extraction.pictures import HELD_BYTES, CaptionPictures
from modal_gpu.extraction.texts import LiveTexts, TextReader
from modal_gpu.functions.caption_ocr import text_settings
from modal_gpu.functions.crop_infer import crop_and_infer_caption_frame_extents
from modal_gpu.functions.extract import extract_frames_and_ocr
from modal_gpu.functions.settings import ComputeSettings
from modal_gpu.keys import VideoKeys
from modal_gpu.storage import ObjectStore
from modal_gpu.timeline import Timeline

#: The folder's only tenant and video.
_KEYS = VideoKeys("00000000-0000-4000-8000-000000000000", "00000000-0000-4000-8000-000000000001")


class LayoutNotApprovedError(CaptionAccError):
    """A layout that the policy does not approve: a person must name the crop region."""


@dataclass(frozen=True)
class Approval:
    """The approval of a layout: ``crop_region``, as the only zone, if it is given, else the policy.

    The policy approves a layout of at least ``least_confidence``, as a tenant's does; ``None``: never.
    """

    least_confidence: float | None = 0.0
    crop_region: CropRegion | None = None

    def of(self, layout: LayoutFile) -> LayoutFile:
        """Return the layout with the approved zones. Raises :class:`LayoutNotApprovedError`."""
        if self.crop_region is not None:
            return layout.with_zones(self.crop_region, ())
        if self.least_confidence is not None and layout.confidence >= self.least_confidence:
            return layout
        raise LayoutNotApprovedError(layout.reason or "no caption band was found")


@dataclass(frozen=True)
class Extraction:
    """A video's captions with what was found on the way; ``timeline`` converts their times to a player's.

    ``layout`` has the approved zones. ``damage`` describes what could not be decoded, empty for an intact
    file.
    """

    captions: list[Caption]
    timeline: Timeline
    facts: ExtractResult
    layout: LayoutFile
    damage: str

    def encoded(self, format: SubtitleFormat, growing: Growing = "fold") -> bytes:
        """Return a subtitle file in UTF-8, as the graph and ``captionacc export`` write it."""
        return encoded(self.captions, self.timeline, format, growing, self.layout)


def extract_captions(
    video: Path,
    settings: ComputeSettings,
    approval: Approval | None = None,
    progress: Progress = no_progress,
) -> Extraction:
    """Return the captions of a video file.

    Progress has the stages ``frames``, ``strips`` and ``captions``. Raises :class:`BadVideoError` for a file
    that is not a video, :class:`LayoutNotApprovedError`, and :class:`OcrError`.
    """
    with tempfile.TemporaryDirectory(prefix="captionacc-") as folder:
        store = ObjectStore.from_url(Path(folder).resolve().as_uri())
        link = Path(folder, _KEYS.video)
        link.parent.mkdir(parents=True)
        link.symlink_to(video.resolve())
        request = ExtractRequest(_KEYS.tenant_id, _KEYS.video_id, _KEYS.video)
        facts = extract_frames_and_ocr(request, store, settings, progress)
        layout = (approval or Approval()).of(read_layout(store.get(_KEYS.layout_db)))
        with ExitStack() as stack:
            texts = {
                zone: stack.enter_context(LiveTexts(reader, progress))
                for zone, reader in _readers(link, layout, store, settings).items()
            }
            damage, decoded = _judged(layout, store, settings, texts, progress)
            # Written and read back for their ids, as in the graph.
            captions = read_captions(write_captions(merge_zones(decoded, facts.duration)))
            readings = read_zones(
                captions,
                texts,
                lambda zone, some: texts[zone].recognize(some),
                lambda zone: settings.has_language(),
            )
            captions = apply_zones(captions, readings)
    return Extraction(captions, Timeline.from_rows(facts.time_spans), facts, layout, damage or facts.damage)


def _readers(
    video: Path, layout: LayoutFile, store: ObjectStore, settings: ComputeSettings
) -> dict[int, TextReader]:
    """Return a reader for each of the layout's zones."""
    return {
        zone: TextReader(video, crop, text_settings(store, _KEYS, crop, zone), settings)
        for zone, crop in crop_regions(layout.crop_region, layout.caption_zones).items()
    }


def _judged(
    layout: LayoutFile,
    store: ObjectStore,
    settings: ComputeSettings,
    texts: Mapping[int, LiveTexts],
    progress: Progress,
) -> tuple[str, dict[int, DecodedExtents]]:
    """Judge the strips while captions that have ended are read; return damage and each zone's extents."""
    model_version = settings.predictor().model_version
    pictures = {
        zone: CaptionPictures(model_version, texts[zone].add, HELD_BYTES // len(texts)) for zone in texts
    }
    request = CropInferRequest(
        _KEYS.tenant_id,
        _KEYS.video_id,
        _KEYS.video,
        layout.crop_region,
        version=1,
        run_id="extract",
        outputs=frozenset({"caption_frame_extents_db"}),
        zones=layout.caption_zones,
    )
    result = crop_and_infer_caption_frame_extents(request, store, settings, progress, pictures)
    for zone, of_zone in pictures.items():
        of_zone.finish()
        texts[zone].finish()
    decoded = {zone: DecodedExtents.of(store.get(_KEYS.caption_frame_extents_db(1, zone))) for zone in texts}
    return result.damage, decoded
