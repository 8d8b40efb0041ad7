"""Layout analysis from stored OCR. No GPU, no video, no heavy import."""

from collections.abc import Callable, Sequence

from modal_gpu.databases.layout import LayoutFile, read_layout, write_layout
from modal_gpu.databases.raw_ocr import read_raw_ocr
from modal_gpu.errors import ObjectNotFoundError
from modal_gpu.functions.extents import GZIP
from modal_gpu.keys import VideoKeys
from modal_gpu.layout.reanalysis import layout_with_people
from modal_gpu.ocr.engine import FrameOcr
from modal_gpu.storage import ObjectStore


def rebuild_layout(
    store: ObjectStore,
    keys: VideoKeys,
    width: int,
    height: int,
    before_write: Callable[[], None] = lambda: None,
    *,
    with_language: bool = False,
) -> LayoutFile:
    """Analyse the stored OCR again, with people's labels; publish and return layout.db.

    ``width`` and ``height`` are the upright frame's, in pixels. ``before_write`` is called just before the
    file is written; if it raises, the stored file is kept. ``with_language``: frames were read with a model
    for the captions' languages. Raises :class:`ObjectNotFoundError` if there is
    no stored OCR.
    """
    frames = read_raw_ocr(store.get(keys.raw_ocr_db))
    return publish_layout(store, keys, frames, width, height, before_write, with_language=with_language)


def publish_layout(
    store: ObjectStore,
    keys: VideoKeys,
    frames: Sequence[FrameOcr],
    width: int,
    height: int,
    before_write: Callable[[], None] = lambda: None,
    *,
    with_language: bool = False,
) -> LayoutFile:
    """Analyse the readings and write layout.db, keeping people's work from the existing file."""
    try:
        previous = read_layout(store.get(keys.layout_db))
    except ObjectNotFoundError:
        previous = None
    layout = layout_with_people(frames, width, height, previous, with_language=with_language)
    before_write()
    store.put(keys.layout_db, write_layout(layout), GZIP)
    return layout
