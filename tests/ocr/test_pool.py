"""The pool keeps order, isolates failures, holds few images, and stops when it is told to."""

import threading

import numpy as np
import pytest

from modal_gpu.errors import OcrError
from modal_gpu.ocr.engine import Box, FrameOcr, OcrLine
from modal_gpu.ocr.pool import OcrPool
from modal_gpu.ocr.rapid import RapidOcrEngine, RapidOcrSettings

TIMEOUT = 10


def image_of(value: int) -> np.ndarray:
    return np.full((2, 2, 3), value, np.uint8)


class ReadsThePixel:
    """Gives the first pixel's value as text; 0 has none, and 13 breaks it."""

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
    with pytest.raises(OcrError, match="is not there"):
        OcrPool(lambda: RapidOcrEngine(RapidOcrSettings(detection_model=tmp_path / "none.onnx")), 2)


def test_an_error_of_the_source_passes_through():
    def source():
        yield 1, image_of(1)
        raise RuntimeError("the video broke off")

    with make_pool() as pool, pytest.raises(RuntimeError, match="broke off"):
        list(pool.map(source()))


def test_an_interrupt_drops_what_is_queued():
    """One is done, two is being read, three is queued when the interrupt comes: three is never read."""
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
