"""Hints from layout analysis about a video's caption strips."""

from bisect import bisect_left

from modal_gpu.contracts import CropRegion
from modal_gpu.databases.layout import read_layout
from modal_gpu.databases.raw_ocr import read_raw_ocr
from modal_gpu.errors import ObjectNotFoundError
from modal_gpu.extents.predictor import FractionBox, SampledStrip, StripHints
from modal_gpu.keys import VideoKeys
from modal_gpu.media.images import decode_jpeg
from modal_gpu.media.pixels import limited_luma
from modal_gpu.media.probe import VideoInfo
from modal_gpu.ocr.engine import Box
from modal_gpu.storage import ObjectStore

#: Height of a caption line in frame heights if the layout has none.
DEFAULT_LINE_HEIGHT = 0.06

#: Number of full frames' strips from before and after a part of a video.
SAMPLES_AROUND = 32


def sampled_strips(
    store: ObjectStore, keys: VideoKeys, crop: CropRegion, info: VideoInfo, part: range
) -> tuple[SampledStrip, ...]:
    """Return the strips of the stored full frames in ``part`` of a video and of some on either side of it.

    They are in index order; frames that are missing, damaged, or of another size than the video are skipped.
    """
    stored = (keys.full_frame_index(found.key) for found in store.list(keys.full_frames_prefix))
    indices = sorted(index for index in stored if index is not None)
    first, last = bisect_left(indices, part.start), bisect_left(indices, part.stop)
    chosen = indices[max(0, first - SAMPLES_AROUND) : last + SAMPLES_AROUND]
    left, top, right, bottom = crop.pixels(info.width, info.height)
    strips = []
    pictures = store.get_many((keys.full_frame(index) for index in chosen), concurrency=4)
    for index, (_, data) in zip(chosen, pictures, strict=True):
        image = decode_jpeg(data)
        if image is not None and image.shape[:2] == (info.height, info.width):
            strips.append(SampledStrip(index, limited_luma(image[top:bottom, left:right], info.matrix)))
    return tuple(strips)


def strip_hints(store: ObjectStore, keys: VideoKeys, crop: CropRegion) -> StripHints:
    """Return hints about the strips from layout.db and from OCR of the full frames.

    A person's label overrides a prediction. A video without a layout gets defaults.
    """
    middle = (crop.crop_top + crop.crop_bottom) / 2
    try:
        layout = read_layout(store.get(keys.layout_db))
        read = read_raw_ocr(store.get(keys.raw_ocr_db))
    except ObjectNotFoundError:
        return StripHints.from_frame_layout(crop, box_height=DEFAULT_LINE_HEIGHT, vertical_center=middle)
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
        box_height=layout.box_height or DEFAULT_LINE_HEIGHT,
        vertical_center=center if center and crop.crop_top < center < crop.crop_bottom else middle,
        anchor_type=layout.anchor_type,
        anchor_position=layout.anchor_position,
        ignore_boxes=[_sides(box) for box in layout.ignore_boxes],
        caption_boxes=sorted(captions.items()),
    )


def _sides(box: Box) -> FractionBox:
    return box.left, box.top, box.right, box.bottom
