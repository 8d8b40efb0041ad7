"""Writing and reading of chunks: VP9 in WebM, each with 32 cropped frames of one modulo level.

Member ``k`` of a chunk has the time stamp ``k / 10`` s; its frame index follows from the chunk's name
(:meth:`modal_gpu.frame_index.ChunkRef.members`). Each chunk starts with a keyframe and is independent.
"""

import io
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange

from modal_gpu.byte_queue import items_within
from modal_gpu.errors import DamagedChunkError
from modal_gpu.frame_index import CHUNK_MEMBERS, INDEX_RATE, SEGMENT_ALIGNMENT, ChunkRef, level_of, locate
from modal_gpu.media.frames import CroppedFrame
from modal_gpu.media.geometry import Orientation
from modal_gpu.media.pixels import matrix_coefficients, yuv420_crop
from modal_gpu.media.pyav import PYAV_ERRORS, decode

_TIME_BASE = Fraction(1, 1000)  # WebM's
_TICKS = 1000 // INDEX_RATE


@dataclass(frozen=True)
class ChunkSettings:
    """libvpx-vp9 settings. ``crf`` 0 (best) to 63; ``cpu_used`` 0 (slow) to 8 (fast)."""

    crf: int = 30
    cpu_used: int = 8
    deadline: str = "realtime"

    def options(self) -> dict[str, str]:
        """Return the encoder's options."""
        return {
            "crf": str(self.crf),
            "b": "0",  # constant quality
            "deadline": self.deadline,
            "cpu-used": str(self.cpu_used),
            "lag-in-frames": "0",
            "g": str(4 * CHUNK_MEMBERS),  # longer than a chunk: its first frame is the only keyframe
        }


@dataclass(frozen=True)
class EncodedChunk:
    """A complete WebM file and its frame indices, ascending."""

    ref: ChunkRef
    data: bytes
    indices: tuple[int, ...]


class _OpenChunk:
    """One chunk being encoded."""

    def __init__(self, ref: ChunkRef, first: CroppedFrame, settings: ChunkSettings) -> None:
        self.ref = ref
        self.indices: list[int] = []
        self._file = io.BytesIO()
        # bitexact: no random track ids, so that equal frames become equal bytes.
        self._container = av.open(self._file, "w", format="webm", options={"fflags": "+bitexact"})
        self._stream = self._container.add_stream("libvpx-vp9", rate=INDEX_RATE, options=settings.options())
        height, width = first.luma.shape
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        context = self._stream.codec_context
        context.thread_count = 1  # chunks are small; the number of threads does not change the bytes
        context.time_base = _TIME_BASE
        context.colorspace, context.color_range = first.matrix, ColorRange.MPEG

    def add(self, frame: CroppedFrame) -> None:
        picture = VideoFrame.from_ndarray(frame.yuv, format="yuv420p")
        picture.pts, picture.time_base = len(self.indices) * _TICKS, _TIME_BASE
        picture.colorspace, picture.color_range = frame.matrix, ColorRange.MPEG
        self._container.mux(self._stream.encode(picture))
        self.indices.append(frame.index)

    def finish(self) -> EncodedChunk:
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return EncodedChunk(self.ref, self._file.getvalue(), tuple(self.indices))

    def abandon(self) -> None:
        self._container.close()


class ChunkWriter:
    """An encoder of cropped frames into chunks, in its own thread.

    Use as a context manager::

        with ChunkWriter() as writer:
            for frame in frames:
                store(writer.write(frame))
            store(writer.finish())

    At most ``queued_frames`` frames wait (fewer if they are large), and three chunks are open. The next
    call raises an error of the encoder. Frames come at every ``step``-th index.
    """

    def __init__(
        self,
        settings: ChunkSettings | None = None,
        *,
        queued_frames: int = 64,
        first_index: int = 0,
        step: int = 1,
    ) -> None:
        if first_index % SEGMENT_ALIGNMENT:
            raise ValueError(f"not every level starts a chunk at frame index {first_index}")
        self._settings = settings or ChunkSettings()
        self._queued_frames = queued_frames
        self._waiting: queue.Queue[CroppedFrame | None] = queue.Queue(queued_frames)
        self._finished: queue.SimpleQueue[EncodedChunk] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._stopping = threading.Event()
        self._next_index, self._step = first_index, step
        self._shape: tuple[int, ...] | None = None
        self._thread = threading.Thread(target=self._run, name="chunk-writer", daemon=True)

    def __enter__(self) -> "ChunkWriter":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._end()

    def write(self, frame: CroppedFrame) -> list[EncodedChunk]:
        """Queue the next frame; return the chunks finished since the last call.

        Raises ``ValueError`` for an index that does not follow the previous one, starting with
        ``first_index``, and for a frame of another size.
        """
        if frame.index != self._next_index:
            raise ValueError(f"frame index {frame.index} came where {self._next_index} is next")
        self._raise_error()
        if not self._thread.is_alive():
            raise RuntimeError("a ChunkWriter takes frames inside its with block, before finish()")
        self._shape = self._shape or frame.yuv.shape
        if frame.yuv.shape != self._shape:  # the encoder would scale it silently
            raise ValueError(f"frame {frame.index} is of shape {frame.yuv.shape}, those before {self._shape}")
        self._next_index += self._step
        self._waiting.maxsize = items_within(frame.yuv.nbytes, self._queued_frames)
        self._waiting.put(frame)
        return self._take()

    def finish(self) -> list[EncodedChunk]:
        """Encode the queued frames and close the last, shorter chunks; return the remaining chunks."""
        self._end()
        self._raise_error()
        return self._take()

    def _end(self) -> None:
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _take(self) -> list[EncodedChunk]:
        chunks = []
        while not self._finished.empty():
            chunks.append(self._finished.get())
        return chunks

    def _run(self) -> None:
        open_chunks: dict[int, _OpenChunk] = {}
        # Frames are taken even after an error, so that the producer never blocks on a full queue.
        while (frame := self._waiting.get()) is not None:
            if not self._stopping.is_set() and self._error is None:
                self._guarded(self._encode, frame, open_chunks)
        if not self._stopping.is_set() and self._error is None:
            self._guarded(self._close_all, open_chunks)
        for chunk in open_chunks.values():
            self._guarded(chunk.abandon)

    def _guarded(self, action: Callable[..., None], *arguments: object) -> None:
        try:
            action(*arguments)
        except BaseException as error:
            self._error = self._error or error

    def _close_all(self, open_chunks: dict[int, _OpenChunk]) -> None:
        for level in sorted(open_chunks, reverse=True):
            self._finished.put(open_chunks.pop(level).finish())

    def _encode(self, frame: CroppedFrame, open_chunks: dict[int, _OpenChunk]) -> None:
        level = level_of(frame.index)
        if level not in open_chunks:
            open_chunks[level] = _OpenChunk(locate(frame.index, self._step)[0], frame, self._settings)
        open_chunks[level].add(frame)
        if len(open_chunks[level].indices) == CHUNK_MEMBERS:
            self._finished.put(open_chunks.pop(level).finish())


def write_chunks(
    frames: Iterable[CroppedFrame],
    settings: ChunkSettings | None = None,
    *,
    first_index: int = 0,
    step: int = 1,
) -> Iterator[EncodedChunk]:
    """Yield all chunks of ``frames``, each as soon as it is complete.

    A chunk depends only on its own frames, so the chunks of a part that starts at ``first_index``, a
    multiple of 512, are identical to those of the whole video.
    """
    with ChunkWriter(settings, first_index=first_index, step=step) as writer:
        for frame in frames:
            yield from writer.write(frame)
        yield from writer.finish()


class _ChunkDecoder:
    """One chunk's frames, decoded as far as they were requested."""

    def __init__(self, ref: ChunkRef, data: bytes, expected: int) -> None:
        self._ref, self._expected = ref, expected
        self._frames: list[tuple[np.ndarray, int]] = []
        try:
            # Closed immediately: an open container and its streams reference each other and would keep
            # the decoder until the next garbage collection.
            with av.open(io.BytesIO(data), "r", format="matroska") as container:
                packets = list(container.demux(video=0))
                self._codec = container.streams.video[0].codec_context
        except PYAV_ERRORS:
            raise self._damaged("is not a readable WebM file") from None
        if self._codec is None:
            raise self._damaged("is of an unknown codec")
        self._codec.thread_count = 1  # several chunks are open at once, each with few pixels
        self._packets = iter(packets)
        found = sum(packet.size > 0 for packet in packets)
        if found != expected:
            raise self._damaged(f"holds {found} frames instead of {expected}")

    def frame(self, position: int) -> tuple[np.ndarray, int]:
        """Return ``(yuv, matrix)`` of a member."""
        while len(self._frames) <= position:
            packet = next(self._packets, None)
            if packet is None:
                raise self._damaged(f"decodes to {len(self._frames)} frames instead of {self._expected}")
            frames = decode(self._codec, packet)
            if frames is None:
                raise self._damaged(f"cannot be decoded at frame {len(self._frames)}")
            for frame in frames:
                if frame.width % 2 or frame.height % 2:
                    raise self._damaged(f"holds frames of {frame.width}×{frame.height} pixels")
                whole = (0, 0, frame.width, frame.height)
                yuv = yuv420_crop(frame, (frame.width, frame.height), Orientation(), whole)
                self._frames.append((yuv, matrix_coefficients(frame)))
        return self._frames[position]

    def _damaged(self, what: str) -> DamagedChunkError:
        return _damaged(self._ref, what)


def frames_in(data: bytes) -> int:
    """Return the number of frames in a chunk without decoding them. Raises :class:`DamagedChunkError`."""
    try:
        with av.open(io.BytesIO(data), "r", format="matroska") as container:
            return sum(packet.size > 0 for packet in container.demux(video=0))
    except PYAV_ERRORS:
        raise DamagedChunkError("a chunk is not a readable WebM file; make a new version") from None


def _damaged(ref: ChunkRef, what: str) -> DamagedChunkError:
    return DamagedChunkError(
        f"chunk {ref.first_index} of level {ref.level} {what}; make a new cropped-frames version"
    )


class ChunkReader:
    """Frames of one cropped-frames version, by index.

    ``fetch`` returns a chunk's bytes (its errors are not caught); ``frame_count`` is the number of stored
    indices; every ``step``-th one has a frame. At most ``cached_chunks`` chunks are kept in memory, each
    decoded as far as needed in the caller's thread. An ascending read needs two of each level to fetch every
    chunk only once.
    """

    def __init__(
        self,
        fetch: Callable[[ChunkRef], bytes],
        frame_count: int,
        *,
        step: int = 1,
        cached_chunks: int = 6,
    ) -> None:
        if frame_count < 1:
            raise ValueError(f"a cropped-frames version has at least one frame, not {frame_count}")
        self._fetch, self._frame_count, self._cached_chunks = fetch, frame_count, max(1, cached_chunks)
        self._step = step
        self._chunks: OrderedDict[ChunkRef, _ChunkDecoder] = OrderedDict()
        self._shape: tuple[int, ...] | None = None

    def frames(self, start: int, end: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield ``(index, RGB uint8 (h, w, 3))`` for ``[start, end)``, ascending.

        Raises :class:`DamagedChunkError`, and ``IndexError`` for a range outside the version.
        """
        return self.at(range(start, end))

    def at(self, indices: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield ``(index, RGB uint8 (h, w, 3))`` for each of ``indices``, in their order."""
        for frame in self.cropped_frames(indices):
            yield frame.index, frame.rgb()

    def cropped_frames(self, indices: Iterable[int]) -> Iterator[CroppedFrame]:
        """Yield the same frames as :meth:`at`, in YUV; ``seconds`` is the index's time."""
        for index in indices:
            if not 0 <= index < self._frame_count:
                raise IndexError(f"frame index {index} is not in [0, {self._frame_count})")
            ref, position = locate(index, self._step)
            yuv, matrix = self._chunk(ref).frame(position)
            self._shape = self._shape or yuv.shape
            if yuv.shape != self._shape:
                raise _damaged(ref, "holds frames of another size than those before")
            yield CroppedFrame(index, yuv, index / INDEX_RATE, matrix)

    def _chunk(self, ref: ChunkRef) -> _ChunkDecoder:
        if ref in self._chunks:
            self._chunks.move_to_end(ref)
        else:
            data = self._fetch(ref)
            self._chunks[ref] = _ChunkDecoder(ref, data, len(ref.members(self._frame_count)))
            while len(self._chunks) > self._cached_chunks:
                self._chunks.popitem(last=False)
        return self._chunks[ref]
