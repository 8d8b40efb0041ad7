"""The engine against a stand-in of the service over real gRPC: places, quota, failures, limits, patience.

What is drawn into frames is found again by the server in the pixels that it received.
"""

import threading
import time

import grpc
import numpy as np
import pytest
from google.cloud import vision_v1
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modal_gpu.error_table import TABLE
from modal_gpu.errors import ConfigurationError, OcrError, OcrUnavailableError
from modal_gpu.ocr.google_vision import GoogleVisionEngine
from modal_gpu.ocr.pool import OcrPool
from modal_gpu.ocr.vision_batches import BAR_HEIGHT
from modal_gpu.ocr.vision_settings import VisionSettings
from tests.modal_gpu.ocr.vision.conftest import marked
from tests.modal_gpu.ocr.vision.stand_in import INKS, QUOTA, Fault, VisionStandIn, mark_confidence, read_marks

SIZE = (120, 200)
UNAVAILABLE, INTERNAL = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL


def texts(readings: list) -> list:
    return [
        str(reading) if isinstance(reading, OcrError) else [line.text for line in reading]
        for reading in readings
    ]


def one_mark(ink: str) -> np.ndarray:
    return marked(SIZE, (ink, 40, 80, 120, 110))


def test_frames_are_read_as_one_image_and_come_back_one_by_one(vision, open_engine):
    engine = open_engine()
    frames = [one_mark("red"), marked(SIZE), one_mark("blue")]
    red, none, blue = engine.recognize_batch(frames)
    assert (texts([red]), none, texts([blue])) == ([["red"]], [], [["blue"]])
    [request] = vision.requests
    assert request.image_sizes == ((3 * 120 + 2 * BAR_HEIGHT, 200),)
    assert open_engine.tally.count == 1
    box = red[0].box
    assert (box.left, box.top) == pytest.approx((0.2, 80 / 120), abs=0.03)
    assert (box.right, box.bottom) == pytest.approx((0.6, 110 / 120), abs=0.03)
    assert red[0].confidence == pytest.approx(mark_confidence(30), abs=0.04)


#: Ink, left side, and whether the mark is at the head (0) or the foot (1) of its frame.
MARKS = st.lists(
    st.tuples(st.sampled_from(sorted(INKS)), st.integers(0, 100), st.integers(0, 1)),
    max_size=2,
    unique_by=lambda mark: mark[2],
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(MARKS, st.sampled_from([(120, 200), (90, 260)])), min_size=1, max_size=40))
def test_every_mark_comes_back_in_its_frame_at_its_place(open_engine, frames):
    """Marks at the very top and bottom edges, frames of two sizes, more than one montage."""
    engine = open_engine(montage_images=7)
    images = [
        marked(
            (height, width),
            *(
                (ink, left, (height - 30) * row, left + 60, (height - 30) * row + 30)
                for ink, left, row in marks
            ),
        )
        for marks, (height, width) in frames
    ]
    for (marks, (height, width)), lines in zip(frames, engine.recognize_batch(images), strict=True):
        expected = sorted((row, ink, left) for ink, left, row in marks)
        assert [line.text for line in lines] == [ink for _, ink, _ in expected]
        for line, (row, _, left) in zip(lines, expected, strict=True):
            top, bottom = ((height - 30) / height, 1) if row else (0, 30 / height)
            near = pytest.approx((left / width, (left + 60) / width, top, bottom), abs=0.05)
            assert (line.box.left, line.box.right, line.box.top, line.box.bottom) == near


def test_a_word_over_the_border_of_two_frames_makes_both_be_read_alone(vision, open_engine):
    """Vision takes the mark at the foot of one frame and the one at the head of the next for one word."""
    vision.reader = lambda image: read_marks(image, glue_rows=BAR_HEIGHT + 4)
    foot, head = marked(SIZE, ("red", 40, 90, 120, 120)), marked(SIZE, ("cyan", 40, 0, 120, 30))
    engine = open_engine()
    assert texts(engine.recognize_batch([one_mark("pink"), foot, head, one_mark("blue")])) == [
        ["pink"],
        ["red"],
        ["cyan"],
        ["blue"],
    ]
    assert [len(request.image_sizes) for request in vision.requests] == [1, 2]
    assert open_engine.tally.count == 3


@pytest.mark.parametrize("code", [QUOTA, UNAVAILABLE, INTERNAL, grpc.StatusCode.DEADLINE_EXCEEDED])
def test_transient_errors_of_a_call_are_retried(vision, open_engine, code):
    vision.faults.append(Fault(code, times=3))
    assert texts(open_engine().recognize_batch([one_mark("red")])) == [["red"]]
    assert len(vision.requests) == 4


def test_transient_errors_of_single_images_are_retried_for_these_only(vision, open_engine):
    vision.faults.append(Fault(QUOTA, picks=lambda image: read_marks(image)[0][0].text == "red", times=2))
    frames = [one_mark("red"), one_mark("blue"), one_mark("cyan")]
    engine = open_engine(montage_images=1)
    assert texts(engine.recognize_batch(frames)) == [["red"], ["blue"], ["cyan"]]
    assert [len(request.image_sizes) for request in vision.requests] == [3, 1, 1]
    assert open_engine.tally.count == 3


def test_waits_grow_between_tries(vision, open_engine):
    vision.faults.append(Fault(QUOTA, times=4))
    begin = time.monotonic()
    open_engine(first_wait_seconds=0.04).recognize_batch([one_mark("red")])
    assert time.monotonic() - begin >= 0.04 * (1 + 2 + 4 + 8)


def test_with_a_lasting_quota_error_frames_fail_and_are_not_retried(vision, open_engine):
    vision.faults.append(Fault(QUOTA, "Quota exceeded for images a minute", times=None))
    engine = open_engine(retry_seconds=0.2)
    readings = engine.recognize_batch([one_mark("red"), one_mark("blue")])
    assert all(isinstance(reading, OcrError) for reading in readings)
    assert "RESOURCE_EXHAUSTED: Quota exceeded" in str(readings[0])
    assert {request.image_sizes for request in vision.requests} == {((240 + BAR_HEIGHT, 200),)}
    assert open_engine.tally.count == 0


def test_a_frame_that_vision_refuses_fails_alone(vision, open_engine):
    """The montage is refused with it; all its frames are then sent by themselves."""

    def holds_red(image: np.ndarray) -> bool:
        return any(word.text == "red" for line in read_marks(image) for word in line)

    vision.faults.append(Fault(grpc.StatusCode.INVALID_ARGUMENT, "Bad image data.", holds_red, times=None))
    readings = open_engine().recognize_batch([one_mark(ink) for ink in ("blue", "red", "cyan")])
    assert texts(readings) == [["blue"], "Google Vision: INVALID_ARGUMENT: Bad image data.", ["cyan"]]


def test_a_call_that_is_refused_as_a_whole_is_made_image_by_image(vision, open_engine):
    vision.faults.append(Fault(grpc.StatusCode.INVALID_ARGUMENT, "no", times=1))
    frames = [one_mark("blue"), one_mark("cyan")]
    assert texts(open_engine(montage_images=1).recognize_batch(frames)) == [["blue"], ["cyan"]]
    assert [len(request.image_sizes) for request in vision.requests] == [2, 1, 1]


@pytest.mark.parametrize("code", [grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED])
def test_refused_credentials_stop_everything_at_once(vision, open_engine, code):
    vision.faults.append(Fault(code, "Cloud Vision API has not been used in project 1 before", times=None))
    with (
        OcrPool(open_engine, 2) as pool,
        pytest.raises(ConfigurationError, match=r"has not been used.*check that the key is valid"),
    ):
        list(pool.map((index, one_mark("red")) for index in range(500)))
    assert len(vision.requests) <= 4


@pytest.mark.parametrize("single", [False, True], ids=["of the call", "of an image"])
def test_credentials_refused_by_googles_token_server_are_not_an_outage(vision, open_engine, single):
    """gRPC's plugin for credentials says UNAVAILABLE then; asking for minutes does not make a key valid."""
    said = "Getting metadata from plugin failed with error: ('invalid_grant: Invalid JWT Signature.', {})"
    vision.faults.append(Fault(UNAVAILABLE, said, (lambda _: True) if single else None, times=None))
    with pytest.raises(ConfigurationError, match="refuses the credentials"):
        open_engine(retry_seconds=30).recognize_batch([one_mark("red")])
    assert len(vision.requests) == 1


#: The other rows are HTTP statuses, which come through a proxy only.
STATUSES = [row for row in TABLE if row.service == "gRPC" and row.sign in grpc.StatusCode.__members__]


@pytest.mark.parametrize("row", STATUSES, ids=lambda row: row.sign)
def test_a_status_is_what_the_table_of_errors_says(vision, open_engine, row):
    vision.faults.append(Fault(grpc.StatusCode[row.sign], "as asked", times=None))
    engine = open_engine(retry_seconds=0.05)
    if row.meaning.is_operators:
        with pytest.raises(ConfigurationError, match="as asked"):
            engine.recognize_batch([one_mark("red")])
        return
    [reading] = engine.recognize_batch([one_mark("red")])
    assert isinstance(reading, OcrError) and reading.retryable is row.meaning.passes
    assert (len(vision.requests) > 1) is row.meaning.passes


def test_a_missing_answer_is_requested_again(vision, open_engine):
    vision.hold_next()
    assert texts(open_engine(call_seconds=0.3).recognize_batch([one_mark("red")])) == [["red"]]
    assert len(vision.requests) == 2


def test_no_connection_is_a_failure_of_every_frame():
    engine = GoogleVisionEngine(
        VisionSettings(endpoint="127.0.0.1:9", first_wait_seconds=0.01, retry_seconds=0.1)
    )
    [reading] = engine.recognize_batch([one_mark("red")])
    assert isinstance(reading, OcrUnavailableError) and "UNAVAILABLE" in str(reading)
    with pytest.raises(OcrUnavailableError, match="all 1 images"), OcrPool(lambda: engine, 1) as pool:
        list(pool.map([(0, one_mark("red"))]))


@pytest.mark.parametrize("stage", ["call", "wait"])
def test_closing_ends_a_call_and_a_wait_for_the_next_try(vision, open_engine, stage):
    if stage == "call":
        vision.hold_next()
    else:
        vision.faults.append(Fault(UNAVAILABLE, times=None))
    engine, readings = open_engine(first_wait_seconds=30, retry_seconds=100), []
    worker = threading.Thread(target=lambda: readings.extend(engine.recognize_batch([one_mark("red")] * 2)))
    worker.start()
    assert vision.arrived.acquire(timeout=10)
    engine.close()
    worker.join(5)
    assert not worker.is_alive()
    assert len(readings) == 2 and all(isinstance(reading, OcrError) for reading in readings)


def test_many_large_frames_keep_to_the_services_limits(vision, open_engine):
    """Frames of noise, whose JPEGs are as large as JPEGs get; the server refuses what is over the limits."""
    vision.reader = lambda image: []
    random = np.random.default_rng(1)
    frames = [random.integers(0, 256, (720, 1280, 3)).astype(np.uint8) for _ in range(3)] * 7
    engine = open_engine()
    assert engine.recognize_batch(frames) == [[]] * 21
    assert open_engine.tally.count == vision.images_received > 1
    assert max(sum(request.byte_sizes) for request in vision.requests) > 4_000_000


def test_sixteen_images_go_into_one_request(vision, open_engine):
    frames = [one_mark(ink) for ink in INKS] * 3
    assert texts(open_engine(montage_images=1).recognize_batch(frames)) == [[ink] for ink in INKS] * 3
    assert [len(request.image_sizes) for request in vision.requests] == [16, 2]


def test_languages_and_the_feature_are_asked_for(vision, open_engine):
    open_engine(language_hints=("zh", "en")).recognize_batch([one_mark("red")])
    open_engine().recognize_batch([one_mark("red")])
    assert [request.language_hints for request in vision.requests] == [("zh", "en"), ()]
    assert {r.feature for r in vision.requests} == {int(vision_v1.Feature.Type.DOCUMENT_TEXT_DETECTION)}


def test_lines_of_low_confidence_are_left_out(open_engine):
    high, low = marked(SIZE, ("red", 40, 10, 80, 50)), marked(SIZE, ("blue", 40, 10, 80, 25))
    engine = open_engine(min_confidence=0.75)
    assert texts(engine.recognize_batch([high, low])) == [[], ["blue"]]


def test_one_image_can_be_read_too(vision, open_engine):
    engine = open_engine()
    assert [line.text for line in engine.recognize(one_mark("pink"))] == ["pink"]
    vision.faults.append(Fault(grpc.StatusCode.INVALID_ARGUMENT, "no", times=None))
    with pytest.raises(OcrError, match="INVALID_ARGUMENT: no"):
        engine.recognize(one_mark("pink"))
    with pytest.raises(OcrError, match="uint8 RGB"):
        engine.recognize(np.zeros(SIZE, np.uint8))


def test_a_pool_of_engines_keeps_the_order_and_marks_failures(vision, open_engine):
    vision.faults.append(Fault(QUOTA, picks=lambda image: image.shape[0] < 200, times=None))
    inks = [*INKS] * 4
    frames = [(10 * place, one_mark(ink)) for place, ink in enumerate(inks)]
    # The last one is alone in its batch, so that its image is low.
    frames += [(10 * place, marked(SIZE)) for place in range(len(inks), 32)] + [(320, one_mark("red"))]
    with OcrPool(lambda: open_engine(montage_images=16, retry_seconds=0.1), 2) as pool:
        found = list(pool.map(frames))
    assert [frame.frame_index for frame in found] == [index for index, _ in frames]
    assert [frame.lines[0].text for frame in found[: len(inks)]] == inks
    assert {frame.status for frame in found[len(inks) : 32]} == {"empty"}
    assert found[32].status == "failed" and "RESOURCE_EXHAUSTED" in found[32].error


def test_the_server_itself_refuses_too_much(vision: VisionStandIn):
    """The tests above rely on this."""
    options = [("grpc.enable_http_proxy", 0), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(vision.endpoint, options=options) as channel:
        transport = vision_v1.ImageAnnotatorClient.get_transport_class("grpc")(channel=channel)
        client = vision_v1.ImageAnnotatorClient(transport=transport)
        small = vision_v1.AnnotateImageRequest(
            image=vision_v1.Image(content=b"x"), features=[vision_v1.Feature(type_=11)]
        )
        answer = client.batch_annotate_images(requests=[small])
        assert answer.responses[0].error.message == "Bad image data."
        with pytest.raises(Exception, match="Too many images"):
            client.batch_annotate_images(requests=[small] * 17)
        large = vision_v1.AnnotateImageRequest(
            image=vision_v1.Image(content=bytes(8_000_000)), features=[vision_v1.Feature(type_=11)]
        )
        with pytest.raises(Exception, match="payload size"):
            client.batch_annotate_images(requests=[large])
