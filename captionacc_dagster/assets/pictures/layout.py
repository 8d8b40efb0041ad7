"""Pictures of a layout: its crop regions on a frame, and where text stands in all frames."""

from collections.abc import Sequence

from captionacc_dagster.assets.pictures.drawing import WIDTH
from captionacc_dagster.assets.pictures.frames import PreviewBox, PreviewFrame, heat_map, layout_preview
from modal_gpu.contracts import CropRegion
from modal_gpu.databases.layout import LayoutBox, LayoutFile
from modal_gpu.keys import VideoKeys
from modal_gpu.storage import ObjectStore


def layout_picture(
    object_store: ObjectStore,
    keys: VideoKeys,
    layout: LayoutFile,
    crops: Sequence[CropRegion],
    width: int = WIDTH,
) -> bytes:
    """Return a JPEG of the frame with the most caption lines, with the zones' crop regions and every box.

    ``width`` is in pixels.
    """
    return layout_preview(_telling_frame(object_store, keys, layout), crops, width)


def text_map(
    object_store: ObjectStore, keys: VideoKeys, layout: LayoutFile, crops: Sequence[CropRegion]
) -> bytes:
    """Return a JPEG of the same frame with the density of the boxes of all frames."""
    boxes = [_preview_box(box) for box in layout.boxes]
    return heat_map(_telling_frame(object_store, keys, layout), boxes, crops)


def _telling_frame(object_store: ObjectStore, keys: VideoKeys, layout: LayoutFile) -> PreviewFrame:
    by_frame: dict[int, list[LayoutBox]] = {0: []}
    for box in layout.boxes:
        by_frame.setdefault(box.frame_index, []).append(box)
    index = max(by_frame, key=lambda frame: (sum(box.is_caption for box in by_frame[frame]), -frame))
    boxes = [_preview_box(box) for box in by_frame[index]]
    return PreviewFrame(index, object_store.get(keys.full_frame(index)), boxes)


def _preview_box(box: LayoutBox) -> PreviewBox:
    return PreviewBox.of(box.box, "in" if box.is_caption else "out")
