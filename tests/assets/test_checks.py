"""Asset checks notice each way in which what was published can be damaged."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from captionacc_dagster.assets import checks
from captionacc_dagster.resources.catalog import VideoRow
from modal_gpu.databases.captions import read_captions, write_captions
from modal_gpu.databases.extents import read_extents, write_extents
from modal_gpu.databases.layout import read_layout, write_layout
from modal_gpu.databases.raw_ocr import read_raw_ocr, write_raw_ocr
from modal_gpu.errors import StorageError
from modal_gpu.frame_index import ChunkRef, chunks
from modal_gpu.keys import VideoKeys
from modal_gpu.ocr.languages.finding import UNREADABLE as NO_SCRIPT
from modal_gpu.storage import ObjectStore
from tests.clip_fixtures import FRAME_COUNT
from tests.line_fixtures import Line
from tests.run_results import checks as results_of
from tests.run_results import failure

Damage = Callable[[ObjectStore, VideoKeys], None]


def removed(key: Callable[[VideoKeys], str]) -> Damage:
    return lambda store, keys: store.delete(key(keys))


def emptied(key: Callable[[VideoKeys], str]) -> Damage:
    return lambda store, keys: store.put(key(keys), b"")


def cut(key: Callable[[VideoKeys], str]) -> Damage:
    """The first half of an object is left."""

    def damage(store: ObjectStore, keys: VideoKeys) -> None:
        data = store.get(key(keys))
        store.put(key(keys), data[: len(data) // 2])

    return damage


def rewritten(key: Callable[[VideoKeys], str], read: Callable, write: Callable, change: Callable) -> Damage:
    return lambda store, keys: store.put(key(keys), write(change(read(store.get(key(keys))))))


def captions_changed(change: Callable) -> Damage:
    return rewritten(lambda k: k.captions_db, read_captions, write_captions, change)


def extents_changed(change: Callable) -> Damage:
    def read(data: bytes):
        return read_extents(data)

    return rewritten(lambda k: k.caption_frame_extents_db(1), read, lambda pair: write_extents(*pair), change)


def chunk(level: int, place: int = -1) -> Callable[[VideoKeys], str]:
    """The key of a chunk of a level, the last one by default."""
    ref = [ref for ref in chunks(FRAME_COUNT) if ref.level == level][place]
    return lambda keys: keys.chunk(1, ref)


def srt_cue_lost(store: ObjectStore, keys: VideoKeys) -> None:
    store.put(keys.srt, store.get(keys.srt).split(b"\n\n")[0] + b"\n")


#: Damage, the check that notices, and what it says.
NOTICED = {
    "a frame is gone": (
        removed(lambda k: k.full_frame(20)),
        "every_frame_present",
        "frame_000020.jpg is missing",
    ),
    "a frame is empty": (emptied(lambda k: k.full_frame(20)), "every_frame_present", "is missing"),
    "a thumbnail is gone": (
        removed(lambda k: k.thumbnail(0)),
        "every_frame_present",
        "thumbnails/frame_000000.jpg is missing",
    ),
    "a frame was not read": (
        rewritten(lambda k: k.raw_ocr_db, read_raw_ocr, write_raw_ocr, lambda frames: frames[1:]),
        "every_frame_read",
        "1 of 8 frames have no status, first: 0",
    ),
    "a frame was read that was not taken": (
        rewritten(
            lambda k: k.raw_ocr_db,
            read_raw_ocr,
            write_raw_ocr,
            lambda frames: [*frames, replace(frames[-1], frame_index=75)],
        ),
        "every_frame_read",
        "1 frames with a status were not taken, first: 75",
    ),
    "many frames failed": (
        rewritten(
            lambda k: k.raw_ocr_db,
            read_raw_ocr,
            write_raw_ocr,
            lambda frames: [
                *frames[:-2],
                *(replace(f, lines=(), status="failed", error="out of memory") for f in frames[-2:]),
            ],
        ),
        "every_frame_read",
        "OCR failed on 2 of 8 frames, first: out of memory",
    ),
    "a box is gone": (
        rewritten(
            lambda k: k.layout_db, read_layout, write_layout, lambda db: replace(db, boxes=db.boxes[1:])
        ),
        "boxes_match_ocr",
        "1 lines of frame",
    ),
    "another frame size": (
        rewritten(lambda k: k.layout_db, read_layout, write_layout, lambda db: replace(db, frame_width=720)),
        "boxes_match_ocr",
        "720 × 360 is not the video's",
    ),
    "a chunk is gone": (removed(chunk(4)), "every_frame_in_one_chunk", "1 chunks are missing"),
    "a chunk is empty": (emptied(chunk(16)), "every_frame_in_one_chunk", "1 chunks are empty"),
    "a chunk too many": (
        lambda store, keys: store.put(keys.chunk(1, ChunkRef(1, 1)) + ".part", b"x"),
        "every_frame_in_one_chunk",
        "1 objects are no chunks",
    ),
    "a pair is gone": (
        extents_changed(
            lambda pair: (
                replace(pair[0], total_pairs=FRAME_COUNT - 2),
                replace(pair[1], forward=pair[1].forward[:-1], backward=pair[1].backward[:-1]),
            )
        ),
        "every_pair_labelled",
        "78 pairs for 80 frames",
    ),
    "another version's pairs": (
        extents_changed(lambda pair: (replace(pair[0], cropped_frames_version=3), pair[1])),
        "every_pair_labelled",
        "belongs to version 3, not 1",
    ),
    "captions overlap": (
        captions_changed(lambda c: [replace(c[0], end_index=c[1].start_index + 1), *c[1:]]),
        "captions_do_not_overlap",
        "overlaps",
    ),
    "a caption ends too late": (
        captions_changed(lambda c: [*c[:-1], replace(c[-1], end_index=FRAME_COUNT + 1)]),
        "captions_do_not_overlap",
        "ends at frame 81 of 80",
    ),
    "a caption was not read": (
        captions_changed(lambda c: [replace(c[0], ocr_status="error", ocr_error="out of memory"), *c[1:]]),
        "every_caption_read",
        "is error out of memory",
    ),
    "a caption still waits": (
        captions_changed(lambda c: [replace(c[0], ocr_status="queued"), *c[1:]]),
        "every_caption_read",
        "is queued",
    ),
    "a text cannot be read": (
        captions_changed(lambda c: [replace(c[0], ocr_status="error", ocr_error=f"{NO_SCRIPT}."), *c[1:]]),
        "texts_can_be_read",
        "set OCR_LANGUAGE",
    ),
    "a layout's script cannot be read": (
        rewritten(
            lambda k: k.layout_db,
            read_layout,
            write_layout,
            lambda db: replace(db, reason=f"{NO_SCRIPT}."),
        ),
        "script_can_be_read",
        "set OCR_LANGUAGE",
    ),
    "a cue is gone": (srt_cue_lost, "subtitles_match_captions", "captions.srt has 1 cues, captions.db 3"),
}

#: Damage that readers would stumble over: the check ends with the error of the reader.
UNREADABLE = {
    "raw OCR": (cut(lambda k: k.raw_ocr_db), "every_frame_read"),
    "layout": (cut(lambda k: k.layout_db), "boxes_match_ocr"),
    "chunk": (cut(chunk(1)), "every_frame_in_one_chunk"),
    "extents": (cut(lambda k: k.caption_frame_extents_db(1)), "every_pair_labelled"),
    "captions": (cut(lambda k: k.captions_db), "captions_do_not_overlap"),
    "captions for OCR": (cut(lambda k: k.captions_db), "every_caption_read"),
    "subtitles gone": (removed(lambda k: k.vtt), "subtitles_match_captions"),
}


def problems(name: str, line: Line, video: VideoRow) -> list[str]:
    return checks.find_problems(checks.INSPECTIONS[name], video, line.store)


def test_every_check_of_the_graph_has_a_case_here():
    assert {key.name for check in checks.ALL for key in check.check_keys} == set(checks.INSPECTIONS)


@pytest.mark.parametrize("name", checks.INSPECTIONS)
def test_a_check_finds_nothing_in_what_the_graph_made(line: Line, finished: VideoRow, name: str):
    assert problems(name, line, finished) == []


@pytest.mark.parametrize("what", NOTICED)
def test_a_check_reports_what_is_wrong(line: Line, finished: VideoRow, what: str):
    damage, name, says = NOTICED[what]
    damage(line.store, line.keys(finished.video_id))
    found = problems(name, line, finished)
    assert len(found) >= 1
    assert says in "; ".join(found)


@pytest.mark.parametrize("what", UNREADABLE)
def test_a_file_that_cannot_be_read_is_a_finding(line: Line, finished: VideoRow, what: str):
    damage, name = UNREADABLE[what]
    damage(line.store, line.keys(finished.video_id))
    (found,) = problems(name, line, finished)
    assert found and "\n" not in found


def test_a_store_that_does_not_answer_is_not_a_finding(line: Line, finished: VideoRow):
    def busy(*_) -> list[str]:
        raise StorageError("the bucket answered 503")

    with pytest.raises(StorageError):
        checks.find_problems(busy, finished, line.store)


def test_broken_chunks_block_downstream_assets(line: Line, laid_out: VideoRow):
    """If a chunk is missing, nothing is decoded: its check blocks."""
    keys = line.keys(laid_out.video_id)
    line.compute.after["crop_and_infer"] = lambda _: line.store.delete(chunk(4)(keys))
    result = line.run("captions", laid_out.video_id)
    assert not result.success
    assert results_of(result)["every_frame_in_one_chunk"] is False
    assert "captions.srt" not in line.stored(laid_out.video_id)
    (step,) = [event for event in result.all_events if event.is_step_failure]
    shown = step.step_failure_data.error
    assert shown.message.startswith("harbour.mp4: 1 chunks are missing, such as ")
    assert shown.message.endswith(". Materialize cropped_chunks and what follows it.")
    assert (shown.stack, shown.cause, shown.context) == ([], None, None)


def test_a_check_that_could_not_be_made_says_how_to_repeat_it(line: Line, finished: VideoRow, monkeypatch):
    def busy(*_: object) -> bytes:
        raise StorageError("the bucket answered 503")

    monkeypatch.setattr(checks, "read_captions", busy)
    result = line.run("captions", finished.video_id, "subtitles")
    advice = "It may pass: execute the check on the asset's page to try once more."
    assert failure(result) == f"harbour.mp4: the bucket answered 503. {advice}"
