"""Chunks: every index in exactly one, read back as the frame that was written, damage named."""

import gc
import io
from collections import Counter
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.codec.context import CodecContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stamped_clips import Clip, every, read_stamp, stamped

from modal_gpu.contracts import CropRegion
from modal_gpu.errors import DamagedChunkError
from modal_gpu.frame_index import CHUNK_MEMBERS, ChunkRef, chunks, locate
from modal_gpu.media.chunks import ChunkReader, ChunkSettings, ChunkWriter, EncodedChunk, write_chunks
from modal_gpu.media.frames import CroppedFrame, read_cropped_frames
from modal_gpu.media.pixels import matrix_coefficients

WIDTH, HEIGHT = 160, 32
ITU709 = 1


def cropped(index: int, luma: np.ndarray | None = None) -> CroppedFrame:
    luma = stamped(index, WIDTH, HEIGHT) if luma is None else luma
    chroma = np.full((luma.shape[0] // 2, luma.shape[1]), 128, np.uint8)
    return CroppedFrame(index, np.concatenate([luma, chroma]), index / 10, ITU709)


def written(count: int) -> dict[ChunkRef, EncodedChunk]:
    return {chunk.ref: chunk for chunk in write_chunks(cropped(index) for index in range(count))}


@pytest.fixture(scope="module")
def store() -> dict[ChunkRef, bytes]:
    """600 frames."""
    return {ref: chunk.data for ref, chunk in written(600).items()}


@pytest.mark.parametrize("count", [1, 15, 16, 17, 31, 33, 100, 513, 600])
def test_every_index_is_in_exactly_one_chunk_and_comes_back_as_itself(count):
    made = written(count)
    assert set(made) == set(chunks(count))
    held = Counter(index for chunk in made.values() for index in chunk.indices)
    assert held == Counter(range(count))
    for ref, chunk in made.items():
        assert list(chunk.indices) == ref.members(count)
    reader = ChunkReader(lambda ref: made[ref].data, count)
    frames = list(reader.frames(0, count))
    assert [index for index, _ in frames] == list(range(count))
    assert [read_stamp(rgb) for _, rgb in frames] == list(range(count))


def test_a_chunk_is_vp9_in_webm_at_10_fps_and_starts_with_its_only_key_frame(store):
    for data in store.values():
        with av.open(io.BytesIO(data)) as container:
            assert "webm" in container.format.name
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("vp9", "yuv420p")
            assert (stream.width, stream.height) == (WIDTH, HEIGHT)
            packets = [packet for packet in container.demux(stream) if packet.size]
            assert 1 <= len(packets) <= CHUNK_MEMBERS
            assert [packet.is_keyframe for packet in packets] == [True] + [False] * (len(packets) - 1)
            assert [packet.pts * packet.time_base * 10 for packet in packets] == list(range(len(packets)))


def test_chunks_are_handed_on_while_frames_still_come():
    with ChunkWriter(queued_frames=1) as writer:
        early = [chunk for index in range(600) for chunk in writer.write(cropped(index))]
        late = writer.finish()
    assert len(early) + len(late) == len(list(chunks(600)))
    assert len(early) > 10
    assert early[0].ref == ChunkRef(1, 1)


def test_the_same_frames_give_the_same_bytes(store):
    assert {ref: chunk.data for ref, chunk in written(600).items()} == store


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_range_and_any_set_of_indices_can_be_read(store, data):
    fetched: list[ChunkRef] = []

    def fetch(ref: ChunkRef) -> bytes:
        fetched.append(ref)
        return store[ref]

    reader = ChunkReader(fetch, 600, cached_chunks=3)
    start = data.draw(st.integers(0, 600))
    end = data.draw(st.integers(start, min(600, start + 60)))
    assert [(index, read_stamp(rgb)) for index, rgb in reader.frames(start, end)] == [
        (index, index) for index in range(start, end)
    ]
    assert set(fetched) == {locate(index)[0] for index in range(start, end)}
    indices = data.draw(st.lists(st.integers(0, 599), max_size=5))
    assert [(index, read_stamp(rgb)) for index, rgb in reader.at(indices)] == [
        (index, index) for index in indices
    ]


def test_an_ascending_read_fetches_each_chunk_once_with_six_in_memory(store):
    fetched: list[ChunkRef] = []

    def fetch(ref: ChunkRef) -> bytes:
        fetched.append(ref)
        return store[ref]

    reader = ChunkReader(fetch, 600, cached_chunks=6)
    for _ in reader.frames(0, 600):
        assert len(reader._chunks) <= 6
    assert sorted(fetched) == sorted(chunks(600))


def _threads() -> int:
    return sum(1 for _ in Path("/proc/self/task").iterdir())


@pytest.mark.slow
def test_evicted_decoders_end_at_once_and_take_their_threads_with_them(store):
    """They must not wait for the garbage collector: a reader of half an hour had 305 threads."""
    gc.collect()
    gc.disable()
    try:
        before, most, decoders = _threads(), 0, 0
        reader = ChunkReader(store.__getitem__, 600, cached_chunks=3)
        for number, _ in enumerate(reader.cropped_frames(range(0, 600, 3))):
            most = max(most, _threads())
            if number % 20:
                continue  # a look at every object of the process takes half a second
            decoders = max(decoders, sum(isinstance(thing, CodecContext) for thing in gc.get_objects()))
        assert most == before
        assert 0 < decoders <= 4  # the one that is opened before another is evicted
    finally:
        gc.enable()


@pytest.mark.parametrize("size", [(320, 32), (160, 34), (159, 31)], ids=["wider", "higher", "odd"])
def test_a_chunk_whose_frames_have_another_size_is_named(store, size):
    other = ChunkRef(1, 1)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="webm") as container:
        stream = container.add_stream("libvpx-vp9", rate=10)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(CHUNK_MEMBERS):
            frame = av.VideoFrame(*size, "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    reader = ChunkReader(lambda ref: buffer.getvalue() if ref == other else store[ref], 600)
    with pytest.raises(DamagedChunkError, match="chunk 1 of level 1 holds frames of"):
        list(reader.frames(0, 2))


def test_a_range_outside_the_version_is_refused(store):
    reader = ChunkReader(store.__getitem__, 600)
    for start, end in ((-1, 3), (599, 601)):
        with pytest.raises(IndexError, match=r"not in \[0, 600\)"):
            list(reader.frames(start, end))
    assert list(reader.frames(5, 5)) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"no WebM at all" * 50,
        lambda data: data[: len(data) // 2],
        lambda data: data[:200],
        lambda data: data[: len(data) // 2] + bytes(len(data) - len(data) // 2),
    ],
)
def test_a_damaged_chunk_is_named(store, damage):
    broken = locate(100)[0]
    reader = ChunkReader(lambda ref: damage(store[ref]) if ref == broken else store[ref], 600)
    with pytest.raises(DamagedChunkError, match=f"chunk {broken.first_index} of level {broken.level} "):
        list(reader.frames(64, 128))


def test_a_chunk_of_fewer_frames_than_the_version_says_is_named(store):
    with pytest.raises(DamagedChunkError, match="holds"):
        list(ChunkReader(store.__getitem__, 5000).frames(590, 600))


def test_an_error_of_the_store_passes_through():
    def fetch(ref: ChunkRef) -> bytes:
        raise ConnectionError("the store is away")

    with pytest.raises(ConnectionError):
        next(ChunkReader(fetch, 10).frames(0, 1))


def test_an_encoder_error_reaches_the_writer_and_nothing_hangs():
    with pytest.raises(av.FFmpegError):
        list(write_chunks((cropped(index) for index in range(500)), ChunkSettings(deadline="sometime")))


def test_a_caller_that_stops_midway_leaves_no_thread_behind():
    with pytest.raises(KeyError), ChunkWriter(queued_frames=2) as writer:
        for index in range(40):
            writer.write(cropped(index))
        raise KeyError
    assert not writer._thread.is_alive()


def test_frames_out_of_order_or_of_another_size_are_refused():
    with ChunkWriter() as writer:
        with pytest.raises(ValueError, match="came where 0 is next"):
            writer.write(cropped(1))
        writer.write(cropped(0))
        with pytest.raises(ValueError, match="shape"):
            writer.write(cropped(1, np.zeros((64, 64), np.uint8)))
        writer.finish()
        with pytest.raises(RuntimeError, match="before finish"):
            writer.write(cropped(1))


def test_text_stays_legible_and_colours_stay(tmp_path):
    """Sharp white text with a dark edge over noise that moves: the hardest that captions get."""
    generator = np.random.default_rng(7)
    background = cv2.GaussianBlur(generator.integers(40, 200, (160, 700), np.uint8), (0, 0), 3)
    frames = []
    for index in range(48):
        picture = np.ascontiguousarray(background[:, index : index + 640])
        for colour, thickness in ((20, 6), (235, 2)):
            cv2.putText(
                picture,
                "legible to the last stroke",
                (30, 100),
                cv2.FONT_HERSHEY_SIMPLEX,
                1.3,
                colour,
                thickness,
            )
        frames.append(cropped(index, picture))
    made = {chunk.ref: chunk.data for chunk in write_chunks(frames)}
    reader = ChunkReader(made.__getitem__, len(frames))
    for frame in reader.cropped_frames(range(48)):
        source = frames[frame.index].luma
        assert cv2.PSNR(source, frame.luma) > 34
        text = source > 220
        assert frame.luma[text].mean() > 215
        assert frame.matrix == ITU709


def test_a_video_goes_through_crop_and_chunks_unharmed(tmp_path):
    clip = Clip(every(25, 200), options={"preset": "veryfast", "bf": "3"})
    path = clip.write(tmp_path)
    made = {chunk.ref: chunk for chunk in write_chunks(read_cropped_frames(path, CropRegion(0, 0.5, 1, 1)))}
    reader = ChunkReader(lambda ref: made[ref].data, 80)
    assert [read_stamp(rgb) for _, rgb in reader.frames(0, 80)] == [
        clip.expected(index) for index in range(80)
    ]


def test_colours_survive_the_way_through_a_chunk():
    """Pure red under both matrices: a chunk carries its own."""
    for matrix, (luma, cb, cr) in ((1, (63, 102, 240)), (6, (81, 90, 240))):
        yuv = np.concatenate(
            [
                np.full(WIDTH * HEIGHT, luma),
                np.full(WIDTH * HEIGHT // 4, cb),
                np.full(WIDTH * HEIGHT // 4, cr),
            ]
        )
        frame = CroppedFrame(0, yuv.astype(np.uint8).reshape(-1, WIDTH), 0.0, matrix)
        (chunk,) = write_chunks([frame])
        ((_, rgb),) = ChunkReader(lambda ref, data=chunk.data: data, 1).frames(0, 1)
        assert abs(rgb.reshape(-1, 3).astype(int).mean(axis=0) - [255, 0, 0]).max() < 8
        with av.open(io.BytesIO(chunk.data)) as container:
            assert matrix_coefficients(next(container.decode(video=0))) in (
                matrix,
                5 if matrix == 6 else matrix,
            )
