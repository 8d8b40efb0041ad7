"""People's work in a new version of ``layout.db``: labels, crop regions and the approval."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from modal_gpu.databases.layout import LayoutBox, LayoutFile

#: Smallest overlap (IoU) of a new box with a labelled box to take over its label.
MIN_OVERLAP = 0.5


def merge_people(previous: LayoutFile | None, new: LayoutFile) -> LayoutFile:
    """Return ``new`` with people's work from ``previous``: labels, crop region, approval.

    A label moves to the box of the same frame that overlaps the labelled one most (IoU of at least
    :data:`MIN_OVERLAP`); each box gets at most one label. A labelled box that OCR no longer finds is kept,
    without a prediction, after the frame's other boxes. A crop region that a person set (version above 0) or
    approved is kept with its version and with the further zones.

    To use the labels in an analysis, merge first (``merge_people(previous, layout_file(…)).labels``), since
    box indices may differ between two OCR runs.
    """
    if previous is None:
        return new
    merged = replace(new, boxes=_merge_labels(previous.boxes, new.boxes))
    if previous.crop_region_version > 0 or previous.layout_approved:
        merged = replace(
            merged,
            crop_region=previous.crop_region,
            crop_region_version=previous.crop_region_version,
            layout_approved=previous.layout_approved,
            zones=previous.zones,
        )
    return merged


def _merge_labels(previous: Sequence[LayoutBox], new: Sequence[LayoutBox]) -> tuple[LayoutBox, ...]:
    by_frame: dict[int, list[LayoutBox]] = defaultdict(list)
    for box in new:
        by_frame[box.frame_index].append(box)
    labelled: dict[int, list[LayoutBox]] = defaultdict(list)
    for box in previous:
        if box.label is not None:
            labelled[box.frame_index].append(box)
    for frame_index, old_boxes in labelled.items():
        boxes = by_frame[frame_index]
        # Best pairs first, so that of two boxes over one labelled box the better one gets the label.
        pairs = sorted(
            (
                (old.box.overlap(box.box), -old_place, -place)
                for old_place, old in enumerate(old_boxes)
                for place, box in enumerate(boxes)
            ),
            reverse=True,
        )
        waiting, free = set(range(len(old_boxes))), set(range(len(boxes)))
        for overlap, old_place, place in pairs:
            if overlap >= MIN_OVERLAP and -old_place in waiting and -place in free:
                waiting.discard(-old_place)
                free.discard(-place)
                old = old_boxes[-old_place]
                boxes[-place] = replace(boxes[-place], label=old.label, label_updated_at=old.label_updated_at)
        for old_place in sorted(waiting):
            box_index = max((box.box_index for box in boxes), default=-1) + 1
            boxes.append(
                replace(
                    old_boxes[old_place], box_index=box_index, predicted_label=None, predicted_confidence=None
                )
            )
    return tuple(box for frame_index in sorted(by_frame) for box in by_frame[frame_index])
