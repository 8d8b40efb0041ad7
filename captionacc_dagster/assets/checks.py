"""Asset checks: published objects are complete and consistent. They read the stored objects themselves."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import dagster as dg
import numpy as np
import pysubs2

from captionacc_dagster.dagster_internals.quiet_failures import FinalFailure
from captionacc_dagster.partition_keys import name_of, video_id_of
from captionacc_dagster.partitions import videos
from captionacc_dagster.resources.catalog import Catalog, VideoRow, WrongStateError
from captionacc_dagster.runs.failures import final_failure
from captionacc_dagster.settings import get_settings
from modal_gpu.captions.reading import unreadable_note
from modal_gpu.captions.subtitles import shown
from modal_gpu.databases.captions import Caption, read_captions
from modal_gpu.databases.extents import read_extents
from modal_gpu.databases.layout import read_layout
from modal_gpu.databases.raw_ocr import read_raw_ocr
from modal_gpu.errors import CaptionAccError
from modal_gpu.frame_index import (
    LEVELS,
    ChunkRef,
    chunks,
    coarse_frame_indices,
    full_frame_indices,
    member_count,
    member_index,
)
from modal_gpu.keys import VideoKeys
from modal_gpu.ocr.languages.finding import UNREADABLE
from modal_gpu.storage import ObjectStore

#: A problem is one sentence; a check passes when there is none.
Problems = Iterable[str]
Inspect = Callable[[VideoRow, VideoKeys, ObjectStore], Problems]

#: What repeats a check that could not be made. Jobs do not check what exists already.
CHECK_AGAIN = "execute the check on the asset's page"
#: Share of frames that OCR may fail on before the check fails.
MAX_FAILED_FRAMES = 0.1
#: Problems named in a result.
SHOWN_PROBLEMS = 5


#: The inspection of each check, by the check's name.
INSPECTIONS: dict[str, Inspect] = {}


def find_problems(inspect: Inspect, video: VideoRow, store: ObjectStore) -> list[str]:
    """Return an inspection's problems. An unreadable file is a problem; an error of the service is raised."""
    try:
        return list(inspect(video, VideoKeys(video.tenant_id, video.video_id), store))
    except CaptionAccError as error:
        if error.lies_with_service:
            raise
        return [str(error)]


def _check(
    asset: str, blocking: bool = False, severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR
) -> Callable[[Inspect], dg.AssetChecksDefinition]:
    """Make an asset check of a function that yields problems; its docstring is the description."""

    def wrap(inspect: Inspect) -> dg.AssetChecksDefinition:
        INSPECTIONS[inspect.__name__] = inspect

        @dg.asset_check(  # type: ignore[arg-type]  # generators run too, as in multi_asset_check
            asset=asset,
            name=inspect.__name__,
            description=inspect.__doc__,
            partitions_def=videos,
            blocking=blocking,
        )
        def check(
            context: dg.AssetCheckExecutionContext,
            catalog: dg.ResourceParam[Catalog],
            object_store: dg.ResourceParam[ObjectStore],
        ) -> Iterator[dg.AssetCheckResult]:
            key = context.partition_key
            try:
                video = catalog.get_video(video_id_of(key))
                problems = find_problems(inspect, video, object_store)
            except CaptionAccError as error:
                raise final_failure(error, name_of(key), video_id_of(key), again=CHECK_AGAIN) from None
            found = "; ".join(problems[:SHOWN_PROBLEMS])
            yield dg.AssetCheckResult(
                passed=not problems,
                severity=severity,
                description=found or None,
                metadata={"problems": len(problems)},
            )
            if blocking and problems:
                # Dagster would end the step with an error of its own and its stack.
                advice = f"Materialize {asset} and what follows it."
                raise FinalFailure(f"{video.display_path}: {found}. {advice}", "AssetCheckFailed")

        return check

    return wrap


@_check("full_frames")
def every_frame_present(video: VideoRow, keys: VideoKeys, store: ObjectStore) -> Problems:
    """Each full frame is stored, with its thumbnail."""
    stored = {info.key for prefix in _frame_prefixes(keys) for info in store.list(prefix) if info.size}
    for index in full_frame_indices(video.media().frame_count):
        for key in (keys.full_frame(index), keys.thumbnail(index)):
            if key not in stored:
                yield f"{key} is missing"


@_check("raw_ocr_db")
def every_frame_read(video: VideoRow, keys: VideoKeys, store: ObjectStore) -> Problems:
    """The database opens and has a status for each full frame that must be read, or more.

    OCR failed on at most a tenth of them.
    """
    frames = read_raw_ocr(store.get(keys.raw_ocr_db))
    count = video.media().frame_count
    read, taken = {frame.frame_index for frame in frames}, full_frame_indices(count)
    if missing := sorted(set(coarse_frame_indices(count)) - read):
        yield f"{len(missing)} of {len(taken)} frames have no status, first: {missing[0]}"
    if surplus := sorted(read.difference(taken)):
        yield f"{len(surplus)} frames with a status were not taken, first: {surplus[0]}"
    failed = [frame for frame in frames if frame.status == "failed"]
    if len(failed) > MAX_FAILED_FRAMES * len(frames):
        yield f"OCR failed on {len(failed)} of {len(frames)} frames, first: {failed[0].error}"


@_check("layout_db")
def boxes_match_ocr(video: VideoRow, keys: VideoKeys, store: ObjectStore) -> Problems:
    """The database opens, and holds each line that OCR read (and those that people labelled)."""
    layout = read_layout(store.get(keys.layout_db))
    boxes = {(box.frame_index, box.box_index) for box in layout.boxes}
    for frame in read_raw_ocr(store.get(keys.raw_ocr_db)):
        missing = [place for place in range(len(frame.lines)) if (frame.frame_index, place) not in boxes]
        if missing:
            yield f"{len(missing)} lines of frame {frame.frame_index} are missing"
    if (layout.frame_width, layout.frame_height) != (video.width, video.height):
        yield f"the frame size {layout.frame_width} × {layout.frame_height} is not the video's"


@_check("layout_db", severity=dg.AssetCheckSeverity.WARN)
def script_can_be_read(video: VideoRow, keys: VideoKeys, store: ObjectStore) -> Problems:
    """The OCR model in use can read the script of the captions."""
    layout = read_layout(store.get(keys.layout_db))
    if layout.reason.startswith(UNREADABLE):
        yield layout.reason


@_check("cropped_chunks", blocking=True)
def every_frame_in_one_chunk(video: VideoRow, keys: VideoKeys, store: ObjectStore) -> Problems:
    """The chunks hold each frame exactly once; the last chunk of each level is complete."""
    from modal_gpu.media.chunks import ChunkReader

    version, frame_count = _active_version(video), video.media().frame_count
    stored = {info.key: info.size for info in store.list(keys.cropped_frames_prefix(version))}
    zones = _zones(video)
    expected = {keys.chunk(version, ref, zone) for zone in zones for ref in chunks(frame_count)}
    if missing := expected - stored.keys():
        yield f"{len(missing)} chunks are missing, such as {min(missing)}"
    if surplus := stored.keys() - expected:
        yield f"{len(surplus)} objects are no chunks of this version, such as {min(surplus)}"
    if empty := [key for key, size in stored.items() if not size]:
        yield f"{len(empty)} chunks are empty, such as {min(empty)}"
    if missing or empty:
        return

    last = [
        member_index(level, member_count(level, frame_count) - 1)
        for level in LEVELS
        if member_count(level, frame_count)
    ]
    for zone in zones:
        reader = ChunkReader(partial(_chunk, store, keys, version, zone), frame_count)
        if (read := [index for index, _ in reader.at(last)]) != last:
            yield f"frames {last}{_of_zone(zone)} were requested, {read} were read"


@_check("caption_frame_extents_db")
def every_pair_labelled(video: VideoRow, keys: VideoKeys, store: ObjectStore) -> Problems:
    """The database opens, holds each pair of neighbouring frames once, and probabilities add up to 1."""
    version, frame_count = _active_version(video), video.media().frame_count
    for zone in _zones(video):
        run, predictions = read_extents(store.get(keys.caption_frame_extents_db(version, zone)))
        if run.cropped_frames_version != version:
            yield f"it belongs to version {run.cropped_frames_version}, not {version}{_of_zone(zone)}"
        if len(predictions.forward) != frame_count - 1:
            yield f"{len(predictions.forward)} pairs{_of_zone(zone)} for {frame_count} frames"
        for name in ("forward", "backward"):
            sums = getattr(predictions, name).sum(axis=1)
            if len(sums) and not np.allclose(sums, 1, atol=1e-3):
                yield f"{name} probabilities{_of_zone(zone)} add up to {sums.min():.4f} to {sums.max():.4f}"


@_check("captions_db")
def captions_do_not_overlap(video: VideoRow, keys: VideoKeys, store: ObjectStore) -> Problems:
    """The database opens; captions lie inside the video; in a zone only those of people overlap."""
    captions = read_captions(store.get(keys.captions_db))
    yield from _overlaps(captions)
    frame_count = video.media().frame_count
    for caption in captions:
        if caption.end_index > frame_count:
            yield f"caption {caption.id} ends at frame {caption.end_index} of {frame_count}"


def _overlaps(captions: Iterable[Caption]) -> Problems:
    """Yield the pairs of a zone that overlap, one of them not a person's."""
    last: Caption | None = None
    for caption in sorted(captions, key=lambda c: (c.zone, c.start_index, c.end_index)):
        if last is None or last.zone != caption.zone:
            last = caption
        of_people = last.belongs_to_person and caption.belongs_to_person
        if caption is not last and caption.start_index < last.end_index and not of_people:
            yield (
                f"caption {last.id} [{last.start_index}, {last.end_index}) overlaps "
                f"caption {caption.id} [{caption.start_index}, {caption.end_index})"
            )
        if caption.end_index >= last.end_index:
            last = caption


@_check("caption_ocr")
def every_caption_read(video: VideoRow, keys: VideoKeys, store: ObjectStore) -> Problems:
    """OCR has read every caption and failed on none."""
    zones = _zones(video)
    for caption in read_captions(store.get(keys.captions_db)):
        unreadable = (caption.ocr_error or "").startswith(UNREADABLE)  # see texts_can_be_read
        # A person's caption in a zone that is no more has no frames to read.
        is_due = caption.state != "gap" and caption.zone in zones and not unreadable
        if is_due and caption.ocr_status != "completed":
            yield f"caption {caption.id} is {caption.ocr_status} {caption.ocr_error or ''}".strip()


@_check("caption_ocr", severity=dg.AssetCheckSeverity.WARN)
def texts_can_be_read(video: VideoRow, keys: VideoKeys, store: ObjectStore) -> Problems:
    """The OCR model in use could read the texts of the captions."""
    if note := unreadable_note(read_captions(store.get(keys.captions_db))):
        yield note


@_check("subtitles")
def subtitles_match_captions(video: VideoRow, keys: VideoKeys, store: ObjectStore) -> Problems:
    """Both files can be parsed and hold the captions that viewers see."""
    captions = read_captions(store.get(keys.captions_db))
    expected = len(shown(captions, video.timeline, get_settings().growing_captions))
    for key, kind in ((keys.srt, "srt"), (keys.vtt, "vtt")):
        cues = len(pysubs2.SSAFile.from_string(store.get(key).decode(), kind))
        if cues != expected:
            yield f"{key} has {cues} cues, captions.db {expected}"


def _active_version(video: VideoRow) -> int:
    if video.current_cropped_frames_version is None:
        raise WrongStateError(f"video {video.video_id} has no cropped frames yet")
    return video.current_cropped_frames_version


def _zones(video: VideoRow) -> list[int]:
    """Return the indices of the zones that the video's readers see."""
    return [0, *(zone.zone_index for zone in video.caption_zones)]


def _of_zone(zone: int) -> str:
    return f" of zone {zone}" if zone else ""


def _chunk(store: ObjectStore, keys: VideoKeys, version: int, zone: int, ref: ChunkRef) -> bytes:
    return store.get(keys.chunk(version, ref, zone))


def _frame_prefixes(keys: VideoKeys) -> tuple[str, str]:
    return keys.full_frames_prefix, keys.thumbnails_prefix


ALL = [
    every_frame_present,
    every_frame_read,
    boxes_match_ocr,
    script_can_be_read,
    every_frame_in_one_chunk,
    every_pair_labelled,
    captions_do_not_overlap,
    every_caption_read,
    texts_can_be_read,
    subtitles_match_captions,
]
