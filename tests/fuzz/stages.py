"""The stages that one damaged file goes through, and their outcomes."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from modal_gpu.captions.merging import captions_from_extents
from modal_gpu.captions.subtitles import shown
from modal_gpu.contracts import CropRegion
from modal_gpu.databases.captions import read_captions, write_captions
from modal_gpu.databases.extents import read_extents
from modal_gpu.databases.layout import read_layout, write_layout
from modal_gpu.databases.raw_ocr import read_raw_ocr, write_raw_ocr
from modal_gpu.errors import CaptionAccError
from modal_gpu.extents.decoder import STROKES, decode
from modal_gpu.frame_index import full_frame_indices
from modal_gpu.layout.reanalysis import layout_with_people
from modal_gpu.media.chunks import ChunkReader, write_chunks
from modal_gpu.media.frames import read_cropped_frames, read_full_frames
from modal_gpu.media.probe import probe
from tests.fuzz.database_files import damaged_database
from tests.fuzz.mutations import damaged_media
from tests.modal_gpu.databases.test_damaged_databases import READERS

CROP = CropRegion(0, 0.6, 1, 1)
#: One file in this many is also encoded into chunks and read back.
_CHUNKED = 8


@dataclass(frozen=True)
class Case:
    """One file, described so that it can be made again."""

    seed: int
    what: str
    number: int

    def __str__(self) -> str:
        return f"{self.what}-{self.number}"

    def file(self) -> tuple[str, bytes]:
        """Return the name of what was damaged, and the bytes."""
        make = damaged_media if self.what == "media" else damaged_database
        return make(Random(f"{self.seed} {self}"))


@dataclass(frozen=True)
class Outcome:
    """``verdict``: right, error (a clear one), foreign, disagree, memory, slow or crash."""

    verdict: str
    kind: str
    detail: str = ""


GOOD = ("right", "error")


class StagesDisagreeError(Exception):
    """Two stages count a video's frames differently."""


def run(case: Case) -> Outcome:
    """Read the case's file as the first stages do. Every exception becomes a verdict, so all are caught."""
    kind, data = case.file()
    try:
        detail = _media(data, case.number) if case.what == "media" else _database(kind, data)
    except CaptionAccError as error:
        text = str(error)
        clear = "\n" not in text and 0 < len(text) < 500
        return Outcome("error" if clear else "foreign", kind, f"{type(error).__name__}: {text}")
    except StagesDisagreeError as error:
        return Outcome("disagree", kind, str(error))
    except MemoryError as error:
        return Outcome("memory", kind, repr(error))
    except Exception as error:
        return Outcome("foreign", kind, f"{type(error).__name__}: {error}")
    return Outcome("right", kind, detail)


def _media(data: bytes, number: int) -> str:
    with tempfile.TemporaryDirectory(prefix="captionacc-fuzz-") as folder:
        path = Path(folder) / "video"
        path.write_bytes(data)
        info = probe(path)
        wanted = list(full_frame_indices(info.index_count))
        full = [frame.index for frame in read_full_frames(path, wanted, info=info)]
        if full != wanted:
            raise StagesDisagreeError(f"full frames {full[:5]}… of {len(wanted)} wanted")
        frames = read_cropped_frames(path, CROP, info=info)
        if number % _CHUNKED:
            count = sum(1 for _ in frames)
        else:
            chunks = {chunk.ref: chunk.data for chunk in write_chunks(frames)}
            reader = ChunkReader(chunks.__getitem__, info.index_count)
            count = sum(1 for _ in reader.cropped_frames(range(info.index_count)))
        if count != info.index_count:
            raise StagesDisagreeError(f"{count} crops of {info.index_count} indices")
    return f"{count} indices"


def _database(kind: str, data: bytes) -> str:
    return f"{_USES[kind](data)} rows"


def _use_captions(data: bytes) -> int:
    captions = read_captions(data)
    shown(captions)
    assert len(read_captions(write_captions(captions))) == len(captions)
    return len(captions)


def _use_raw_ocr(data: bytes) -> int:
    frames = read_raw_ocr(data)
    assert read_raw_ocr(write_raw_ocr(frames)) == frames
    layout_with_people(frames, 1280, 720, None)
    return len(frames)


def _use_layout(data: bytes) -> int:
    layout = read_layout(data)
    assert read_layout(write_layout(layout)) == layout
    return len(layout.boxes)


def _use_extents(data: bytes) -> int:
    run, pairs = read_extents(data)
    count = run.total_pairs + 1
    captions_from_extents(decode(pairs, STROKES), count, count / 10)
    return count


_USES: dict[str, Callable[[bytes], int]] = {
    "captions": _use_captions,
    "raw ocr": _use_raw_ocr,
    "layout": _use_layout,
    "extents": _use_extents,
    "change seconds": lambda data: len(READERS["change seconds"].read(data)),
    "segment": lambda data: len(READERS["segment"].read(data)),
}
