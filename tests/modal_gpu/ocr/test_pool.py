"""The pool keeps the order, isolates failures, holds few images, and stops on request."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modal_gpu.errors import ConfigurationError, OcrError
from modal_gpu.ocr.engine import BatchLimits, Box, FrameOcr, OcrLine, Reading
from modal_gpu.ocr.pool import OcrPool, batches
from modal_gpu.ocr.rapid import RapidOcrEngine, RapidOcrSettings

TIMEOUT = 10


def image_of(value: int) -> np.ndarray:
    return np.full((2, 2, 3), value, np.uint8)


class ReadsThePixel:
    """An engine that returns the first pixel's value as text; 0 has no text, and 13 raises an error."""

    def recognize(self, image: np.ndarray) -> list[OcrLine]:
        value = int(image[0, 0, 0])
        if value == 13:
            raise OcrError("thirteen cannot be read")
        return [OcrLine(str(value), 1.0, Box(0, 0, 1, 1))] if value else []


def make_pool(engine=ReadsThePixel, workers: int = 3) -> OcrPool:
    return OcrPool(engine, workers)


def test_results_come_in_order_whichever_worker_is_first():
    first_may_go = threading.Event()

    class FirstIsSlow(ReadsThePixel):
        def recognize(self, image: np.ndarray) -> list[OcrLine]:
            if image[0, 0, 0] == 1:
                assert first_may_go.wait(TIMEOUT)
            elif image[0, 0, 0] == 3:
                first_may_go.set()
            return super().recognize(image)

    with make_pool(FirstIsSlow) as pool:
        frames = list(pool.map((10 * value, image_of(value)) for value in range(1, 9)))
    assert [(frame.frame_index, frame.lines[0].text) for frame in frames] == [
        (10 * v, str(v)) for v in range(1, 9)
    ]


def test_empty_and_failed_frames_are_recorded_as_such():
    with make_pool() as pool:
        frames = list(pool.map((value, image_of(value)) for value in (0, 7, 13)))
    assert frames == [
        FrameOcr(0, "empty"),
        FrameOcr(7, "ok", (OcrLine("7", 1.0, Box(0, 0, 1, 1)),)),
        FrameOcr(13, "failed", error="thirteen cannot be read"),
    ]


def test_failure_on_every_frame_is_an_error():
    with make_pool() as pool, pytest.raises(OcrError, match="all 2 images, first on 5: thirteen"):
        list(pool.map([(5, image_of(13)), (6, image_of(13))]))


def test_no_images_give_no_frames():
    with make_pool() as pool:
        assert list(pool.map([])) == []


def test_a_pool_is_used_for_several_maps():
    with make_pool() as pool:
        assert [len(list(pool.map((v, image_of(v)) for v in range(5)))) for _ in range(3)] == [5, 5, 5]


def test_only_two_images_a_worker_are_held_at_once():
    drawn = []

    def source():
        for value in range(1, 100):
            drawn.append(value)
            yield value, image_of(value)

    with make_pool(workers=2) as pool:
        results = pool.map(source())
        for done in range(1, 20):
            next(results)
            assert len(drawn) <= done + 2 * 2


def test_an_engine_is_never_used_by_two_workers_at_once():
    class Alone(ReadsThePixel):
        def __init__(self) -> None:
            self.busy = threading.Lock()

        def recognize(self, image: np.ndarray) -> list[OcrLine]:
            assert self.busy.acquire(blocking=False)
            try:
                return super().recognize(image)
            finally:
                self.busy.release()

    with make_pool(Alone, workers=4) as pool:
        assert {frame.status for frame in pool.map((v, image_of(v % 12 + 1)) for v in range(200))} == {"ok"}


def test_an_engine_that_cannot_be_made_is_an_error_at_once(tmp_path):
    with pytest.raises(OcrError, match="does not exist"):
        OcrPool(lambda: RapidOcrEngine(RapidOcrSettings(detection_model=tmp_path / "none.onnx")), 2)


def test_an_error_of_the_source_passes_through():
    def source():
        yield 1, image_of(1)
        raise RuntimeError("the video broke off")

    with make_pool() as pool, pytest.raises(RuntimeError, match="broke off"):
        list(pool.map(source()))


def test_an_interrupt_drops_what_is_queued():
    """At the interrupt, one is finished, two is being read and three is queued: three is never read."""
    two_started, two_may_end = threading.Event(), threading.Event()
    read = []

    class WaitsAtTwo(ReadsThePixel):
        def recognize(self, image: np.ndarray) -> list[OcrLine]:
            read.append(int(image[0, 0, 0]))
            if read[-1] == 2:
                two_started.set()
                assert two_may_end.wait(TIMEOUT)
            return super().recognize(image)

    with make_pool(WaitsAtTwo, workers=1) as pool:
        results = pool.map((value, image_of(value)) for value in (1, 2, 3))
        assert next(results).frame_index == 1
        assert two_started.wait(TIMEOUT)
        # Three was drawn with one and two, or is drawn never.
        with pytest.raises(KeyboardInterrupt):
            results.throw(KeyboardInterrupt)
        two_may_end.set()
    assert read == [1, 2]
    with pytest.raises(RuntimeError):
        next(pool.map([(3, image_of(3))]))


def test_real_engines_in_threads_read_like_one_alone(frame_engine, render):
    texts = ["Wait!", "别动", "Let's go home."]
    with OcrPool(RapidOcrEngine, 2) as pool:
        frames = list(pool.map((index, render(text)) for index, text in enumerate(texts)))
    assert [[line.text for line in frame.lines] for frame in frames] == [[text] for text in texts]
    assert frames[0].lines == tuple(frame_engine.recognize(render("Wait!")))


class ReadsBatches(ReadsThePixel):
    """Up to four images a call; keeps the sizes of its calls."""

    batch_limits = BatchLimits(images=4)

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.closed = False

    def recognize_batch(self, images: list[np.ndarray]) -> list[Reading]:
        self.calls.append(len(images))
        return [self.reading(image) for image in images]

    def reading(self, image: np.ndarray) -> Reading:
        try:
            return self.recognize(image)
        except OcrError as error:
            return error

    def close(self) -> None:
        self.closed = True


def test_an_engine_for_batches_gets_them_and_fails_image_by_image():
    engine = ReadsBatches()
    with make_pool(lambda: engine, workers=1) as pool:
        frames = list(pool.map((10 * value, image_of(value)) for value in range(9, 18)))
    assert [frame.frame_index for frame in frames] == [10 * value for value in range(9, 18)]
    assert [frame.status for frame in frames] == [*["ok"] * 4, "failed", *["ok"] * 4]
    assert engine.calls == [4, 4, 1]
    assert engine.closed


def test_a_batch_that_fails_as_a_whole_is_a_failure_of_each_of_its_images():
    class BreaksAtOne(ReadsBatches):
        def reading(self, image: np.ndarray) -> Reading:
            if image[0, 0, 0] == 1:
                raise RuntimeError("broken pipe")
            return super().reading(image)

    with make_pool(BreaksAtOne, workers=1) as pool:
        frames = list(pool.map((value, image_of(value)) for value in range(1, 9)))
    assert [frame.error for frame in frames] == ["broken pipe"] * 4 + [""] * 4


def test_only_two_batches_a_worker_are_held_at_once():
    drawn = []

    def source():
        for value in range(1, 100):
            drawn.append(value)
            yield value, image_of(value)

    with make_pool(ReadsBatches, workers=2) as pool:
        results = pool.map(source())
        for done in range(1, 40):
            next(results)
            assert len(drawn) <= 4 * (-(-done // 4) + 2 * 2)


@pytest.mark.parametrize("engine", [ReadsThePixel, ReadsBatches])
def test_a_wrong_setting_stops_the_map_at_once(engine):
    class Refused(engine):
        def recognize(self, image: np.ndarray) -> list[OcrLine]:
            raise ConfigurationError("the key was revoked")

    with make_pool(Refused, workers=1) as pool, pytest.raises(ConfigurationError, match="revoked"):
        next(pool.map((value, image_of(value)) for value in range(1, 99)))


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), max_size=40),
    st.integers(1, 9),
    st.one_of(st.none(), st.integers(1, 2000)),
)
def test_batches_keep_to_both_limits_and_are_as_full_as_they_allow(sizes, images, pixels):
    items = [(index, np.zeros((*size, 3), np.uint8)) for index, size in enumerate(sizes)]
    found = list(batches(items, BatchLimits(images, pixels)))
    assert [index for batch in found for index, _ in batch] == list(range(len(sizes)))
    counts = [[height * width for height, width in (image.shape[:2] for _, image in b)] for b in found]
    for place, batch in enumerate(counts):
        assert 1 <= len(batch) <= images
        assert pixels is None or len(batch) == 1 or sum(batch) <= pixels
        if place + 1 < len(counts):
            full = pixels is not None and sum(batch) + counts[place + 1][0] > pixels
            assert len(batch) == images or full
