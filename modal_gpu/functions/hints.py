"""Hints from layout analysis about a video's caption strips."""

from bisect import bisect_left
from collections.abc import Sequence
from statistics import median

import numpy as np

from modal_gpu.contracts import CropRegion
from modal_gpu.databases.layout import LayoutFile, read_layout
from modal_gpu.databases.raw_ocr import read_raw_ocr
from modal_gpu.errors import ObjectNotFoundError
from modal_gpu.extents.predictor import FractionBox, StripHints
from modal_gpu.extents.stored_strips import Luma, StoredStrips
from modal_gpu.keys import VideoKeys
from modal_gpu.media.images import decode_jpeg
from modal_gpu.media.pixels import limited_luma
from modal_gpu.media.probe import VideoInfo
from modal_gpu.ocr.engine import Box
from modal_gpu.storage import ObjectStore

#: Height of a caption line if none was seen: this share of the height of a 16:9 frame as wide as the video,
#: and at most that share of the crop region's height.
DEFAULT_LINE_HEIGHT, _LARGEST_IN_CROP = 0.06, 0.6

#: Number of full frames' strips from before and after a part of a video.
SAMPLES_AROUND = 32


def sampled_strips(
    store: ObjectStore, keys: VideoKeys, crop: CropRegion, info: VideoInfo, part: range
) -> StoredStrips:
    """Return the strips of the stored full frames in ``part`` of a video and of some on either side of it.

    Frames that are damaged, or of another size than the video, are left out.
    """
    stored = (keys.full_frame_index(found.key) for found in store.list(keys.full_frames_prefix))
    indices = sorted(index for index in stored if index is not None)
    first, last = bisect_left(indices, part.start), bisect_left(indices, part.stop)
    left, top, right, bottom = crop.pixels(info.width, info.height)

    def load(chosen: Sequence[int]) -> list[Luma | None]:
        pictures = store.get_many((keys.full_frame(index) for index in chosen), concurrency=4)
        return [strip(decode_jpeg(data)) for _, data in pictures]

    def strip(image: np.ndarray | None) -> Luma | None:
        if image is None or image.shape[:2] != (info.height, info.width):
            return None
        return limited_luma(image[top:bottom, left:right], info.matrix)

    return StoredStrips(indices[max(0, first - SAMPLES_AROUND) : last + SAMPLES_AROUND], load)


def strip_hints(store: ObjectStore, keys: VideoKeys, crop: CropRegion, zone: int = 0) -> StripHints:
    """Return hints about a zone's strips from layout.db and from OCR of the full frames.

    A person's label overrides a prediction. A video without a layout gets defaults.
    """
    middle = (crop.crop_top + crop.crop_bottom) / 2
    try:
        layout = read_layout(store.get(keys.layout_db)).at(crop, zone)
        read = read_raw_ocr(store.get(keys.raw_ocr_db))
    except ObjectNotFoundError:
        line_height = min(DEFAULT_LINE_HEIGHT, _LARGEST_IN_CROP * (crop.crop_bottom - crop.crop_top))
        return StripHints.from_frame_layout(
            crop, box_height=line_height, vertical_center=middle, line_height_seen=False
        )
    line_height, seen = _line_height(layout, crop)
    # A frame that was read and has no caption box is an observation too.
    captions: dict[int, list[FractionBox]] = {
        frame.frame_index: [] for frame in read if frame.status != "failed"
    }
    for box in layout.boxes:
        if box.is_caption:
            captions.setdefault(box.frame_index, []).append(_sides(box.box))
    center = layout.vertical_center
    return StripHints.from_frame_layout(
        crop,
        box_height=line_height,
        vertical_center=center if center and crop.crop_top < center < crop.crop_bottom else middle,
        anchor_type=layout.anchor_type,
        anchor_position=layout.anchor_position,
        ignore_boxes=[_sides(box) for box in layout.ignore_boxes],
        caption_boxes=sorted(captions.items()),
        line_height_seen=seen,
    )


def _line_height(layout: LayoutFile, crop: CropRegion) -> tuple[float, bool]:
    """Return the height of a caption line in frame heights, and whether it was seen or is a guess.

    A crop region beside the layout's band, from a person or without a band, has the height of the text that
    was read in it.
    """
    height = crop.crop_bottom - crop.crop_top
    center = layout.vertical_center
    if layout.box_height and center is not None and crop.crop_top < center < crop.crop_bottom:
        return layout.box_height, True
    inside = [
        box
        for box in layout.boxes
        if crop.crop_left <= box.box.center_x <= crop.crop_right
        and crop.crop_top <= box.box.center_y <= crop.crop_bottom
    ]
    if inside:
        captions = [box for box in inside if box.is_caption]
        return min(median(box.box.height for box in captions or inside), height), bool(captions)
    as_16_to_9 = 9 / 16 * layout.frame_width / layout.frame_height if layout.frame_height else 1.0
    usual = DEFAULT_LINE_HEIGHT * max(as_16_to_9, 9 / 16)
    return min(layout.box_height or usual, _LARGEST_IN_CROP * height), False


def _sides(box: Box) -> FractionBox:
    return box.left, box.top, box.right, box.bottom
