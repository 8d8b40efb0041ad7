"""Google Vision's ``BatchAnnotateImages`` on this machine, over real gRPC, with the service's own messages.

It decodes the images it gets, finds words in their pixels, and answers as the service does: pages, blocks,
paragraphs, words and symbols with boxes, breaks and confidences. It refuses what is over the documented
limits, and fails on demand.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import grpc
import numpy as np
from google.cloud import vision_v1
from google.rpc import status_pb2

Break = vision_v1.TextAnnotation.DetectedBreak.BreakType
#: Documented: see modal_gpu/ocr/vision_batches.py.
MAX_IMAGES, MAX_IMAGE_BYTES, MAX_JSON_BYTES, MAX_PIXELS = 16, 20_000_000, 10_000_000, 75_000_000

INVALID, QUOTA = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED


@dataclass(frozen=True)
class SeenWord:
    """A word and its pixels: left, top, right, bottom."""

    text: str
    confidence: float
    box: tuple[int, int, int, int]


#: Lines of words in an RGB image, top to bottom.
Reader = Callable[[np.ndarray], Sequence[Sequence[SeenWord]]]

#: Colours that tests draw as words; far apart, so that JPEG leaves them what they are.
INKS = {
    "red": (230, 30, 30),
    "green": (30, 200, 30),
    "blue": (40, 40, 240),
    "yellow": (230, 230, 30),
    "pink": (230, 40, 230),
    "cyan": (30, 220, 220),
}


def mark_confidence(height: int) -> float:
    """1 less a hundredth for each row of a mark's height, at least 0.6."""
    return max(0.6, 1 - height / 100)


def read_marks(image: np.ndarray, glue_rows: int = 0) -> list[list[SeenWord]]:
    """Rectangles in :data:`INKS` on a dark or grey ground, as words named after their colours.

    Marks that are at most ``glue_rows`` apart, one above the other, are taken for one word.
    """
    words = []
    for name, ink in INKS.items():
        near = (np.abs(image.astype(np.int16) - ink).max(axis=2) < 60).astype(np.uint8)
        near = cv2.morphologyEx(near, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
        _, _, stats, _ = cv2.connectedComponentsWithStats(near)
        for left, top, width, height, _ in stats[1:].tolist():
            words.append(SeenWord(name, mark_confidence(height), (left, top, left + width, top + height)))
    words.sort(key=lambda word: word.box[1])
    if glue_rows:
        words = _glued(words, glue_rows)
    lines: list[list[SeenWord]] = []
    for word in words:
        if lines and word.box[1] < lines[-1][0].box[3]:
            lines[-1].append(word)
        else:
            lines.append([word])
    return [sorted(line, key=lambda word: word.box[0]) for line in lines]


def _glued(words: Sequence[SeenWord], rows: int) -> list[SeenWord]:
    glued: list[SeenWord] = []
    for word in words:
        for place, above in enumerate(glued):
            beside = word.box[0] < above.box[2] and above.box[0] < word.box[2]
            if beside and 0 <= word.box[1] - above.box[3] <= rows:
                box = (
                    min(above.box[0], word.box[0]),
                    above.box[1],
                    max(above.box[2], word.box[2]),
                    word.box[3],
                )
                glued[place] = SeenWord(above.text + word.text, above.confidence, box)
                break
        else:
            glued.append(word)
    return glued


class RapidReader:
    """A reader that really reads the image, the montage in full size."""

    def __init__(self) -> None:
        import rapidocr
        from rapidocr import RapidOCR

        models = Path(rapidocr.__file__).parent / "models"
        self._engine = RapidOCR(
            params={
                "Global.log_level": "critical",
                "Global.max_side_len": 20_000,
                "Global.width_height_ratio": -1,
                "Det.model_path": str(models / "PP-OCRv6_det_small.onnx"),
                "Rec.model_path": str(models / "PP-OCRv6_rec_small.onnx"),
                "Det.limit_type": "max",
                "Det.limit_side_len": 20_000,
                "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            }
        )
        self._lock = threading.Lock()

    def __call__(self, image: np.ndarray) -> list[list[SeenWord]]:
        with self._lock:
            found = self._engine(
                cv2.cvtColor(image, cv2.COLOR_RGB2BGR), use_det=True, use_cls=False, use_rec=True
            )
        if found.boxes is None or not found.txts:
            return []
        lines = []
        for corners, text, score in zip(found.boxes, found.txts, found.scores, strict=True):
            left, top = np.min(corners, axis=0).tolist()
            right, bottom = np.max(corners, axis=0).tolist()
            lines.append(_words_of_line(text, float(score), (left, top, right, bottom)))
        return sorted(filter(None, lines), key=lambda line: line[0].box[1])


def _words_of_line(text: str, score: float, box: tuple[float, ...]) -> list[SeenWord]:
    """A line cut at its spaces, each word as wide as its share of the characters."""
    left, top, right, bottom = box
    words, begin = [], 0
    for word in text.split(" "):
        if word:
            from_x = left + (right - left) * begin / len(text)
            to_x = left + (right - left) * (begin + len(word)) / len(text)
            words.append(SeenWord(word, score, (round(from_x), round(top), round(to_x), round(bottom))))
        begin += len(word) + 1
    return words


@dataclass(frozen=True)
class SeenRequest:
    """The contents of one call."""

    image_sizes: tuple[tuple[int, int], ...]
    byte_sizes: tuple[int, ...]
    language_hints: tuple[str, ...]
    feature: int


@dataclass
class Fault:
    """A failure of an entire call, or of the images in it that ``picks`` selects."""

    code: grpc.StatusCode
    message: str = "injected"
    picks: Callable[[np.ndarray], bool] | None = None
    #: Number of times; ``None`` for always.
    times: int | None = 1


@dataclass
class VisionStandIn:
    """The server. Use it as a context manager; ``endpoint`` is where it listens."""

    reader: Reader = read_marks
    faults: list[Fault] = field(default_factory=list)
    #: Released once for each call that arrives.
    arrived: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    requests: list[SeenRequest] = field(default_factory=list)
    holds: deque[threading.Event] = field(default_factory=deque)
    endpoint: str = ""

    def __enter__(self) -> "VisionStandIn":
        self._server = grpc.server(
            ThreadPoolExecutor(4),
            options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
        )
        method = grpc.unary_unary_rpc_method_handler(
            self._batch_annotate_images,
            request_deserializer=vision_v1.BatchAnnotateImagesRequest.deserialize,
            response_serializer=vision_v1.BatchAnnotateImagesResponse.serialize,
        )
        self._server.add_generic_rpc_handlers(
            [
                grpc.method_handlers_generic_handler(
                    "google.cloud.vision.v1.ImageAnnotator", {"BatchAnnotateImages": method}
                )
            ]
        )
        self.endpoint = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        for hold in self.holds:
            hold.set()
        self._server.stop(None).wait(5)

    @property
    def images_received(self) -> int:
        """Images of all calls that came in, answered or not."""
        return sum(len(request.image_sizes) for request in self.requests)

    def hold_next(self) -> threading.Event:
        """The next call is answered only once the event is set."""
        self.holds.append(threading.Event())
        return self.holds[-1]

    def _batch_annotate_images(
        self, request: vision_v1.BatchAnnotateImagesRequest, context: grpc.ServicerContext
    ) -> vision_v1.BatchAnnotateImagesResponse:
        images = [_decoded(item.image.content) for item in request.requests]
        self.requests.append(
            SeenRequest(
                tuple(image.shape[:2] if image is not None else (0, 0) for image in images),
                tuple(len(item.image.content) for item in request.requests),
                tuple(request.requests[0].image_context.language_hints) if request.requests else (),
                int(request.requests[0].features[0].type_) if request.requests else 0,
            )
        )
        waiting = len(self.requests) - 1
        self.arrived.release()
        if waiting < len(self.holds):
            self.holds[waiting].wait(10)
        self._check_limits(request, context)
        for fault in self.faults:
            if fault.picks is None and self._is_due(fault):
                context.abort(fault.code, fault.message)
        return vision_v1.BatchAnnotateImagesResponse(responses=[self._annotate(image) for image in images])

    def _check_limits(
        self, request: vision_v1.BatchAnnotateImagesRequest, context: grpc.ServicerContext
    ) -> None:
        sizes = [len(item.image.content) for item in request.requests]
        if len(sizes) > MAX_IMAGES:
            context.abort(INVALID, f"Too many images per request: {len(sizes)}, at most {MAX_IMAGES}")
        if any(size > MAX_IMAGE_BYTES for size in sizes):
            context.abort(INVALID, "Image file is over 20 MB")
        # base64, as in JSON
        if sum(-(-size // 3) * 4 for size in sizes) + 500 * len(sizes) > MAX_JSON_BYTES:
            context.abort(INVALID, f"Request payload size exceeds the limit: {MAX_JSON_BYTES} bytes.")

    def _annotate(self, image: np.ndarray | None) -> vision_v1.AnnotateImageResponse:
        if image is None:
            return _image_error(grpc.StatusCode.INVALID_ARGUMENT, "Bad image data.")
        if image.shape[0] * image.shape[1] > MAX_PIXELS:
            return _image_error(INVALID, "Image too large. Please limit to 75 megapixels.")
        for fault in self.faults:
            if fault.picks is not None and fault.picks(image) and self._is_due(fault):
                return _image_error(fault.code, fault.message)
        lines = self.reader(image)
        if not any(lines):
            return vision_v1.AnnotateImageResponse()
        return vision_v1.AnnotateImageResponse(full_text_annotation=annotation_of(lines, image.shape[:2]))

    @staticmethod
    def _is_due(fault: Fault) -> bool:
        if fault.times is None:
            return True
        fault.times -= 1
        return fault.times >= 0


def annotation_of(
    lines: Sequence[Sequence[SeenWord]], size: tuple[int, int], end: Break = Break.EOL_SURE_SPACE
) -> vision_v1.TextAnnotation:
    """Put all lines into one paragraph, as Vision does when they are close; ``size`` is (height, width)."""
    words = []
    for line in lines:
        for place, word in enumerate(line):
            after = end if place == len(line) - 1 else Break.SPACE
            words.append(word_message(word, after))
    if words:
        words[-1].symbols[-1].property.detected_break.type_ = Break.LINE_BREAK
    paragraph = vision_v1.Paragraph(words=words)
    page = vision_v1.Page(width=size[1], height=size[0], blocks=[vision_v1.Block(paragraphs=[paragraph])])
    return vision_v1.TextAnnotation(pages=[page], text="\n".join(" ".join(w.text for w in x) for x in lines))


def word_message(word: SeenWord, after: Break = Break.UNKNOWN) -> vision_v1.Word:
    """Build a word with one symbol a character; its last symbol carries the break."""
    symbols = [vision_v1.Symbol(text=character, confidence=word.confidence) for character in word.text]
    if after:
        symbols[-1].property.detected_break.type_ = after
    left, top, right, bottom = word.box
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    return vision_v1.Word(
        symbols=symbols,
        confidence=word.confidence,
        bounding_box=vision_v1.BoundingPoly(vertices=[vision_v1.Vertex(x=x, y=y) for x, y in corners]),
    )


def _decoded(content: bytes) -> np.ndarray | None:
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _image_error(code: grpc.StatusCode, message: str) -> vision_v1.AnnotateImageResponse:
    return vision_v1.AnnotateImageResponse(error=status_pb2.Status(code=code.value[0], message=message))
