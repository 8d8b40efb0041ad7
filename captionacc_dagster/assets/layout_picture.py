"""The layout drawn on a frame of the video, for the UI and the command line."""

from collections.abc import Sequence

from captionacc_dagster.assets import previews
from modal_gpu.contracts import CropRegion
from modal_gpu.databases.layout import LayoutBox, LayoutFile
from modal_gpu.keys import VideoKeys
from modal_gpu.storage import ObjectStore


def layout_picture(
    object_store: ObjectStore, keys: VideoKeys, layout: LayoutFile, crops: Sequence[CropRegion]
) -> bytes:
    """Return a JPEG of the frame with the most caption lines, with the zones' crop regions and every box."""
    by_frame: dict[int, list[LayoutBox]] = {0: []}
    for box in layout.boxes:
        by_frame.setdefault(box.frame_index, []).append(box)
    index = max(by_frame, key=lambda frame: (sum(box.is_caption for box in by_frame[frame]), -frame))
    boxes = [previews.PreviewBox.of(box.box, "in" if box.is_caption else "out") for box in by_frame[index]]
    frame = previews.PreviewFrame(index, object_store.get(keys.full_frame(index)), boxes)
    return previews.layout_preview(frame, crops)
