"""What of people's work is in this platform after an adoption."""

from collections.abc import Iterator

import dagster as dg
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

from captionacc_dagster.definitions import code_location
from modal_gpu.databases.captions import read_captions
from modal_gpu.databases.layout import read_layout
from modal_gpu.keys import VideoKeys
from tests.adoption.old_videos import Made
from tests.line_fixtures import Line


def lost_edits(made: Made, line: Line) -> Iterator[str]:
    """Yield each edit of a video that this platform does not have as it was made."""
    keys = VideoKeys(made.folder.tenant_id, made.video_id)
    row = line.catalog.get_video(made.video_id)
    if made.captions:
        found = {(c.start_index, c.end_index): c for c in read_captions(line.store.get(keys.captions_db))}
        for edit in made.captions:
            caption = found.get((edit.start, edit.end))
            if caption is None or not caption.belongs_to_person:
                yield f"{made.kind}: caption [{edit.start}, {edit.end})"
            elif (caption.text, caption.state, caption.text_status, caption.text_notes) != (
                edit.text,
                edit.state,
                edit.status,
                edit.notes,
            ):
                yield f"{made.kind}: caption [{edit.start}, {edit.end}) is {caption}"
    if made.labels:
        boxes = read_layout(line.store.get(keys.layout_db)).boxes
        for label in made.labels:
            if not any(
                box.frame_index == label.frame
                and box.label == label.label
                and box.box.left <= label.x <= box.box.right
                and box.box.top <= label.y <= box.box.bottom
                for box in boxes
            ):
                yield f"{made.kind}: label {label}"
    if made.approval is not None and row.crop_region != made.approval:
        yield f"{made.kind}: approval {row.crop_region}"
    for stage in made.reviewed:
        if row.stage(stage).status != "done":
            yield f"{made.kind}: review of {stage}"


def statuses(line: Line, made: Made, *assets: str) -> dict[str, str]:
    """The status of assets of a video's partition, by the code that the UI asks: FRESH, STALE or MISSING."""
    definitions = code_location()
    resolver = CachingStaleStatusResolver(
        line.instance,
        definitions.get_repository_def().asset_graph,
        LoadingContextForTest(line.instance),
    )
    partition = line.catalog.get_video(made.video_id).partition_key
    return {name: resolver.get_status(dg.AssetKey(name), partition).value for name in assets}
