"""Captions of several zones: each zone is decoded, merged and read by itself."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from modal_gpu.captions.decoded import DecodedExtents
from modal_gpu.captions.reading import Readings, apply_readings, read_texts
from modal_gpu.contracts import CaptionOcrResult, CaptionRange
from modal_gpu.databases.captions import Caption

#: OCR's results of each zone.
ZoneReadings = Mapping[int, Readings]
#: A function that reads captions of one zone and returns one result each, in their order.
RecognizeZone = Callable[[int, list[CaptionRange]], Sequence[CaptionOcrResult]]


def by_zone(captions: Iterable[Caption]) -> dict[int, list[Caption]]:
    """Group captions by zone, in ascending order of the zones."""
    zones: dict[int, list[Caption]] = defaultdict(list)
    for caption in captions:
        zones[caption.zone].append(caption)
    return dict(sorted(zones.items()))


def merge_zones(
    decoded: Mapping[int, DecodedExtents], duration: float, existing: Iterable[Caption] = ()
) -> list[Caption]:
    """Return the captions of all zones, sorted by start, merged with the existing ones of the same zone.

    Of a zone that the layout no longer has, only what belongs to a person remains.
    """
    stored = by_zone(existing)
    merged = [
        caption
        for zone, extents in decoded.items()
        for caption in extents.captions(duration, stored.get(zone, ()), zone)
    ]
    left = [c for zone, captions in stored.items() if zone not in decoded for c in captions]
    return _sorted([*merged, *(caption for caption in left if caption.belongs_to_person)])


def read_zones(
    captions: Iterable[Caption],
    zones: Iterable[int],
    recognize: RecognizeZone,
    with_language: Callable[[int], bool] = lambda zone: False,
) -> dict[int, Readings]:
    """Read the captions of each of the ``zones`` that wait for OCR; see :func:`read_texts`.

    ``with_language`` says of a zone whether its model was chosen for its language.
    """
    stored = by_zone(captions)
    return {
        zone: read_texts(stored[zone], partial(recognize, zone), with_language=with_language(zone))
        for zone in zones
        if zone in stored
    }


def apply_zones(captions: Iterable[Caption], readings: ZoneReadings) -> list[Caption]:
    """Return the captions with their zones' readings, sorted by start; see :func:`apply_readings`.

    Captions of zones without readings stay as they are.
    """
    return _sorted(
        caption
        for zone, stored in by_zone(captions).items()
        for caption in (apply_readings(stored, readings[zone]) if zone in readings else stored)
    )


def _sorted(captions: Iterable[Caption]) -> list[Caption]:
    return sorted(captions, key=lambda c: (c.start_index, c.zone))
