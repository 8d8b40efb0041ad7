"""RapidOCR on onnxruntime, with the models of its wheel or with configured model files.

The wheel's models (PP-OCRv6 small) read Chinese, Japanese, English and many other languages in Latin
letters. Other scripts (Korean, Cyrillic, Arabic, Thai, …) need their own recognition model, which
:mod:`modal_gpu.ocr.languages` chooses by language. Nothing is downloaded here.

RapidOCR's default detector limit (``limit_type=min``, 736) enlarges a caption strip to 5888 × 736, which
is 50 times slower and less accurate, so this module always sets ``max``.
"""

import copy
import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime
import rapidocr

from modal_gpu.errors import OcrError
from modal_gpu.ocr.engine import Box, OcrLine
from modal_gpu.ocr.languages.reading import is_wide, logical_order, read_share
from modal_gpu.ocr.music_notes import Notes, find_notes
from modal_gpu.ocr.rapid_parts import (
    CTCLabelDecode,
    DetPreProcess,
    OrtInferSession,
    RapidOCR,
    RapidOCRError,
    map_boxes_to_original,
)
from modal_gpu.ocr.reading_order import join_pieces

_WHEEL_MODELS = Path(rapidocr.__file__).parent / "models"
_DETECTION = _WHEEL_MODELS / "PP-OCRv6_det_small.onnx"
_RECOGNITION = _WHEEL_MODELS / "PP-OCRv6_rec_small.onnx"
_CLASSIFIER = _WHEEL_MODELS / "ch_ppocr_mobile_v2.0_cls_mobile.onnx"

#: Images with a longer side below the first number are enlarged to the second, by at most
#: :data:`_MAX_ENLARGEMENT`. Of nine caption lines in 320 × 180 frames, four were read exactly without and
#: six with enlargement.
_SMALL_SIDE, _ENLARGED_SIDE, _MAX_ENLARGEMENT = 640, 960, 4.0
#: Confidence of a line of notes alone.
_SURE_NOTE = 0.9
#: Images of at least this width in heights are strips, which one text line may fill.
_STRIP_ASPECT = 3.0


@dataclass(frozen=True)
class RapidOcrSettings:
    """The models, and the size at which the detector sees an image.

    ``detection_side`` limits the longer side in pixels: larger images are reduced for detection, and lines
    are then read from the original pixels. The defaults of use are :data:`FULL_FRAME` and :data:`STRIP`.
    """

    detection_side: int = 736
    #: Lines with a lower confidence are dropped.
    min_confidence: float = 0.5
    detection_model: Path | None = None
    recognition_model: Path | None = None
    #: Further recognition models, with their own dictionaries. Each line is read by all, and the best reading
    #: counts. ``None`` is the wheel's.
    more_recognition_models: tuple[Path | None, ...] = ()
    #: One character per line; only for a recognition model without its own.
    dictionary: Path | None = None
    #: Return wide lines that no model could read, too, with what was read and its low confidence.
    keep_unread: bool = False
    #: Find music notes at the ends of lines.
    find_notes: bool = False
    #: Turn upside-down lines; captions have none.
    classify_orientation: bool = False
    #: Requires onnxruntime-gpu.
    use_cuda: bool = False


#: Full frames. On 24 frames of the 720p test clips every caption is read exactly at 1280, 960 and 736, but
#: not at 640. 736 takes 0.45 of the time of 1280.
FULL_FRAME = RapidOcrSettings(detection_side=736)
#: Caption strips: 60 to 95 ms of CPU time for 1180 × 84 and 1180 × 130. The 58 captions of the test clips,
#: each read from one raw frame, are all exact.
STRIP = RapidOcrSettings(detection_side=960, find_notes=True)


@dataclass(frozen=True)
class FoundLine:
    """The place of a line of text and its upright picture (uint8 BGR, H × W × 3), not read yet."""

    box: Box
    picture: npt.NDArray[np.uint8]


class RapidOcrEngine:
    """One single-threaded engine. Loading takes at least 0.2 s: make others with :meth:`beside`."""

    def __init__(self, settings: RapidOcrSettings = FULL_FRAME) -> None:
        """Load the models. Raises :class:`OcrError` if a model file is missing or unusable."""
        self.settings = settings
        if settings.use_cuda:
            # The CUDA libraries from torch's wheels are not on the loader's path.
            onnxruntime.preload_dlls()
        self._engine = _loaded(settings, settings.recognition_model, detects=True)
        more = [_loaded(settings, path) for path in settings.more_recognition_models]
        self._recognizers = [self._engine, *more]
        self._set_detection()

    def beside(self, settings: RapidOcrSettings) -> "RapidOcrEngine":
        """Return an engine for another thread or another use, on the same loaded models.

        ``settings`` differ from this engine's at most in the detection's side and in what is done with lines.
        """
        other = copy.copy(self)
        other.settings, other._engine = settings, copy.copy(self._engine)
        other._recognizers = [other._engine, *self._recognizers[1:]]
        other._set_detection()
        return other

    def _set_detection(self) -> None:
        # ONNX Runtime's sessions may be called by several threads, RapidOCR's other objects have state.
        detector: Any = copy.copy(self._engine.text_det)
        detector.limit_side_len = self.settings.detection_side
        detector.get_preprocess = lambda: _Preparation.of(detector)
        self._engine.text_det = detector

    def recognize(self, image: np.ndarray) -> list[OcrLine]:
        """Return the image's lines; see :class:`modal_gpu.ocr.engine.OcrEngine`."""
        found = self.find_lines(image)
        if not found:
            return []
        aspect = image.shape[1] / image.shape[0]
        lines, unread = [], []
        for line in self._lines(image, found):
            if line.text and line.confidence >= self.settings.min_confidence:
                lines.append(line)
            elif self.settings.keep_unread and is_wide(line.box, aspect):
                unread.append(line)
        joined = join_pieces(lines, aspect)
        return sorted(joined + unread, key=lambda line: line.box.center_y) if unread else joined

    def find_lines(self, image: np.ndarray) -> list[FoundLine]:
        """Return the lines of text in an image (uint8 RGB, H × W × 3), unread and in no certain order.

        Raises :class:`OcrError` when the detector fails.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise OcrError(f"OCR takes uint8 RGB images of H × W × 3, not {image.dtype} {image.shape}")
        bgr = cv2.cvtColor(_enlarged_if_small(image), cv2.COLOR_RGB2BGR)
        height, width = bgr.shape[:2]
        try:
            # RapidOCR's own steps, because its call returns no lines that it cannot read.
            picture, record = self._engine.preprocess_img(bgr)
            crops, detected = self._engine.detect_and_crop(picture, record)
            if self.settings.classify_orientation:
                crops, _ = self._engine.cls_and_rotate(crops)
            corners = map_boxes_to_original(detected.boxes, record, height, width)
        except RapidOCRError:  # its way to say that there is no text
            return []
        except Exception as error:
            raise OcrError(f"RapidOCR failed on a {width} × {height} image: {_last_line(error)}") from error
        found = []
        for four, crop in zip(corners, crops, strict=True):
            box = _fraction_box(np.asarray(four, float), width, height)
            if box is not None and not _is_picture(box, width / height):
                found.append(FoundLine(box, crop))
        return found

    def _lines(self, image: np.ndarray, found: Sequence[FoundLine]) -> Iterator[OcrLine]:
        """Yield each line with its text, and with the notes beside it."""
        if not self.settings.find_notes:
            yield from map(OcrLine, *self._read(found), [one.box for one in found])
            return
        large = _enlarged_if_small(image)
        notes = [find_notes(large, one.box) for one in found]
        texts = [
            one if beside is None else _cut_to(large, one, beside)
            for one, beside in zip(found, notes, strict=True)
        ]
        for one, beside, text, confidence in zip(found, notes, *self._read(texts), strict=True):
            if beside is None:
                yield OcrLine(text, confidence, one.box)
            elif beside.text is None:
                yield OcrLine(f"{beside.before} {beside.after}".strip(), _SURE_NOTE, one.box)
            else:
                yield OcrLine(f"{beside.before} {text} {beside.after}".strip(), confidence, one.box)

    def _read(self, found: Sequence[FoundLine]) -> tuple[list[str], list[float]]:
        """Return the text and the confidence of each line, the best of the models' readings."""
        readings = [_recognized(engine, found) for engine in self._recognizers]
        best = [
            max(of_one, key=lambda r: r[1] * read_share(r[0], *line.picture.shape[1::-1]))
            for line, of_one in zip(found, zip(*readings, strict=True), strict=True)
        ]
        return [text for text, _ in best], [confidence for _, confidence in best]


def _cut_to(image: np.ndarray, line: FoundLine, notes: Notes) -> FoundLine:
    """Return a line without its notes; one of notes alone as it is."""
    if notes.text is None:
        return line
    height, width = image.shape[:2]
    box = notes.text
    part = image[
        int(box.top * height) : math.ceil(box.bottom * height),
        int(box.left * width) : math.ceil(box.right * width),
    ]
    return FoundLine(line.box, np.asarray(cv2.cvtColor(part, cv2.COLOR_RGB2BGR), np.uint8))


def _recognized(engine: Any, found: Sequence[FoundLine]) -> list[tuple[str, float]]:
    """Read lines with one model."""
    try:
        read = engine.recognize_txt([line.picture for line in found])
    except Exception as error:
        raise OcrError(f"RapidOCR failed to read {len(found)} lines: {_last_line(error)}") from error
    # A CTC model writes from left to right, whatever the script's direction is.
    texts = (
        logical_order(re.sub(" +", " ", unicodedata.normalize("NFC", text)).strip()) for text in read.txts
    )
    return [(text, min(1.0, max(0.0, float(score)))) for text, score in zip(texts, read.scores, strict=True)]


def _loaded(settings: RapidOcrSettings, recognition: Path | None, detects: bool = False) -> Any:
    """Return RapidOCR with its models loaded, so that a bad file is reported before the first image."""
    params = _parameters(settings, recognition)
    try:
        engine = RapidOCR(params=params)
        blank = np.zeros((48, 96, 3), np.uint8)
        engine(blank, use_det=False, use_cls=False, use_rec=True)
        if detects:
            engine(blank, use_det=True, use_cls=False, use_rec=False)
        recognizer: Any = engine.text_rec  # inferred as None, which it is before the first use
        recognizer.postprocess_op = _MarkKeeper(recognizer.postprocess_op)
    except Exception as error:
        raise OcrError(f"RapidOCR cannot load its models: {_last_line(error)}") from error
    return engine


def _parameters(settings: RapidOcrSettings, model: Path | None) -> dict[str, object]:
    """Return RapidOCR's parameters for one recognition model; raises :class:`OcrError` for a missing file."""
    detection = _existing("detection model", settings.detection_model or _DETECTION)
    recognition = _existing("recognition model", model or _RECOGNITION)
    params: dict[str, object] = {
        "Global.log_level": "critical",
        "Global.text_score": settings.min_confidence,
        "EngineConfig.onnxruntime.intra_op_num_threads": 1,
        "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        "EngineConfig.onnxruntime.use_cuda": settings.use_cuda,
        # Without it each layer's memory is fetched from the system: a fifth of the time on full frames.
        "EngineConfig.onnxruntime.enable_cpu_mem_arena": True,
        # No padding of strips to 1/4 of their width: on the test clips it improves no reading and takes
        # 1.5 to 2.3 times the CPU time.
        "Global.width_height_ratio": -1,
        # In a batch every line is padded to the longest, which costs more than several calls.
        "Rec.rec_batch_num": 1,
        "Det.limit_type": "max",
        "Det.limit_side_len": settings.detection_side,
        # RapidOCR downloads a model whose path is not set.
        "Det.model_path": str(detection),
        "Rec.model_path": str(recognition),
        "Cls.model_path": str(_existing("orientation model", _CLASSIFIER)),
    }
    if settings.dictionary is not None and model == settings.recognition_model:
        params["Rec.rec_keys_path"] = str(_existing("character dictionary", settings.dictionary))
    elif model is not None:
        _require_dictionary_inside(recognition)
    return params


def _session_options(engine: Any, default: Any = OrtInferSession._init_sess_opts) -> Any:
    # Each image's size would get a pattern, which reserves all memory of a run in one block.
    options = default(engine)
    options.enable_mem_pattern = False
    return options


# RapidOCR has no parameter for it.
OrtInferSession._init_sess_opts = staticmethod(_session_options)  # type: ignore[method-assign,assignment]


class _Preparation(DetPreProcess):
    """RapidOCR's preparation of an image for detection, in float32 instead of float64."""

    @classmethod
    def of(cls, detector: Any) -> "_Preparation":
        """Return the preparation that ``detector`` would make."""
        return cls(detector.limit_side_len, detector.limit_type, detector.mean, detector.std)

    def normalize(self, img: np.ndarray) -> np.ndarray:
        """Return (H, W, 3) uint8 as float32, less the mean and divided by the deviation."""
        scale = np.asarray(self.scale / self.std, np.float32)
        return img * scale - np.asarray(self.mean / self.std, np.float32)


class _MarkKeeper:
    """RapidOCR's CTC decoder, changed to keep narrow spaces and first hyphens that its model nearly predicts.

    A narrow space often loses to the CTC blank although no other character is likely. A time step where
    the blank wins and the space has at least ``MIN_PROBABILITY`` counts as a space. Of 90 strips of an
    English clip 1 more is read exactly at 720p, 2 more at 360p, 3 more at 240p, and none fewer.

    So does a hyphen before a line's first character, which begins a dialogue.
    """

    MIN_PROBABILITY = 0.25

    def __init__(self, decoder: CTCLabelDecode) -> None:
        self._decoder = decoder
        self.character: list[str] = decoder.character
        # The decoder appends the space to the model's characters.
        self._space = len(decoder.character) - 1
        if decoder.character[self._space] != " ":
            raise OcrError("this RapidOCR release orders its characters in an unknown way")
        self._hyphen = self.character.index("-") if "-" in self.character else None

    def __call__(self, predictions: np.ndarray, *args: Any, **options: Any) -> object:
        """Decode probabilities (lines × time steps × characters; the blank is character 0)."""
        likely = predictions[..., self._space] >= self.MIN_PROBABILITY
        if likely.any():
            likely[likely] = predictions[likely].argmax(axis=1) == 0
            predictions[..., 0][likely] = 0
        if self._hyphen is not None:
            for line in predictions:
                first = int((line.argmax(axis=1) > 0).argmax())
                # Zero where the blank wins everywhere, and then there is no line to begin.
                line[:first, 0][line[:first, self._hyphen] >= self.MIN_PROBABILITY] = 0
        return self._decoder(predictions, *args, **options)


def _enlarged_if_small(image: np.ndarray) -> np.ndarray:
    side = max(image.shape[:2])
    if side >= _SMALL_SIDE:
        return image
    factor = min(_ENLARGED_SIDE / side, _MAX_ENLARGEMENT)
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)


def _fraction_box(corners: np.ndarray, width: int, height: int) -> Box | None:
    """Return the upright rectangle around four corners (4 × 2 pixels), or ``None`` if it is empty."""
    left, top = np.clip(corners.min(axis=0) / (width, height), 0, 1).tolist()
    right, bottom = np.clip(corners.max(axis=0) / (width, height), 0, 1).tolist()
    return Box(left, top, right, bottom) if left < right and top < bottom else None


def _is_picture(box: Box, aspect: float) -> bool:
    """Return whether a box reaches three edges of a frame: large shapes are sometimes read as a letter."""
    at_edges = sum((box.left < 0.005, box.top < 0.005, box.right > 0.995, box.bottom > 0.995))
    return at_edges >= 3 and aspect < _STRIP_ASPECT


def _existing(what: str, path: Path) -> Path:
    if not path.is_file():
        raise OcrError(f"the OCR {what} {path} does not exist: correct the path or add the file")
    return path


@lru_cache(maxsize=16)
def model_dictionary(recognition: Path | None = None) -> frozenset[str]:
    """Return the characters in a recognition model's file, the wheel's by default; empty if it has none.

    Raises :class:`OcrError` for a file that is no model.
    """
    path = recognition or _RECOGNITION
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:
        raise OcrError(f"the OCR recognition model {path} cannot be loaded: {_last_line(error)}") from error
    return frozenset(session.get_modelmeta().custom_metadata_map.get("character", "").splitlines())


def _require_dictionary_inside(recognition: Path) -> None:
    # Without a dictionary RapidOCR would download the Chinese one, which fits no other model.
    if not model_dictionary(recognition):
        raise OcrError(
            f"the OCR recognition model {recognition} contains no character dictionary: set its file as well"
        )


def _last_line(error: Exception) -> str:
    # Some of RapidOCR's errors have a complete traceback as their message; its last line is the error.
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__
