"""RapidOCR on onnxruntime, with the models of its own wheel or with model files by configuration.

The wheel's models (PP-OCRv6 small) read Chinese, Japanese, English and other Latin scripts, and
Greek letters. Other scripts (Korean, Cyrillic, Arabic, Thai, …) need their recognition model, and its
dictionary where the model does not hold one: give their paths in :class:`RapidOcrSettings`. Nothing is
ever downloaded.

RapidOCR's own detector limit (``limit_type=min``, 736) enlarges a caption strip to 5888 × 736, which is
50 times slower and reads worse, so ``max`` is always set here.
"""

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import rapidocr
from rapidocr import RapidOCR
from rapidocr.ch_ppocr_rec.utils import CTCLabelDecode

from modal_gpu.errors import OcrError
from modal_gpu.ocr.engine import Box, OcrLine
from modal_gpu.ocr.reading_order import join_pieces

_WHEEL_MODELS = Path(rapidocr.__file__).parent / "models"
_DETECTION = _WHEEL_MODELS / "PP-OCRv6_det_small.onnx"
_RECOGNITION = _WHEEL_MODELS / "PP-OCRv6_rec_small.onnx"
_CLASSIFIER = _WHEEL_MODELS / "ch_ppocr_mobile_v2.0_cls_mobile.onnx"

#: Images with a longer side below the first number are enlarged to the second, by :data:`_MAX_ENLARGEMENT`
#: at most: of nine caption lines in 320 × 180 frames, four were read exactly as they are, six enlarged.
_SMALL_SIDE, _ENLARGED_SIDE, _MAX_ENLARGEMENT = 640, 960, 4.0
#: Images wider than this many heights are strips, which a line of text may fill.
_STRIP_ASPECT = 3.0


@dataclass(frozen=True)
class RapidOcrSettings:
    """Which models, and how large the detector sees the image.

    ``detection_side`` limits the longer side in pixels: larger images are reduced for detection, and
    lines are then read from the original pixels. :data:`FULL_FRAME` and :data:`STRIP` are in use.
    """

    detection_side: int = 736
    #: Lines below it are left out.
    min_confidence: float = 0.5
    detection_model: Path | None = None
    recognition_model: Path | None = None
    #: One character a line; only for a recognition model that does not hold its own.
    dictionary: Path | None = None
    #: Turns lines that stand on their head; captions never do.
    classify_orientation: bool = False
    #: Needs onnxruntime-gpu.
    use_cuda: bool = False


#: Whole frames. On 24 frames of the 720p test clips every caption is read exactly at 1280, 960 and 736, not
#: at 640; 736 costs 0.45 of 1280.
FULL_FRAME = RapidOcrSettings(detection_side=736)
#: Caption strips: 60 to 95 ms of CPU time for 1180 × 84 and 1180 × 130. The 58 captions of the test clips,
#: each read from one raw frame, are all exact.
STRIP = RapidOcrSettings(detection_side=960)


class RapidOcrEngine:
    """One single-threaded engine. Loading takes 0.2 s or more: make it once a worker."""

    def __init__(self, settings: RapidOcrSettings = FULL_FRAME) -> None:
        """Raises :class:`OcrError` when a model file is missing or unusable."""
        self.settings = settings
        detection = _existing("detection model", settings.detection_model or _DETECTION)
        recognition = _existing("recognition model", settings.recognition_model or _RECOGNITION)
        params: dict[str, object] = {
            "Global.log_level": "critical",
            "Global.text_score": settings.min_confidence,
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            "EngineConfig.onnxruntime.use_cuda": settings.use_cuda,
            # Strips are not padded to 1/4 of their width: on the test clips that reads nothing better and
            # costs 1.5 to 2.3 times the CPU time.
            "Global.width_height_ratio": -1,
            "Det.limit_type": "max",
            "Det.limit_side_len": settings.detection_side,
            # With every path given, RapidOCR has nothing to look for on the network.
            "Det.model_path": str(detection),
            "Rec.model_path": str(recognition),
            "Cls.model_path": str(_existing("orientation model", _CLASSIFIER)),
        }
        if settings.dictionary is not None:
            params["Rec.rec_keys_path"] = str(_existing("character dictionary", settings.dictionary))
        elif settings.recognition_model is not None:
            _require_dictionary_inside(recognition)
        if settings.use_cuda:
            # The CUDA libraries that torch's wheels brought are not on the loader's path.
            onnxruntime.preload_dlls()
        try:
            self._engine = RapidOCR(params=params)
            # RapidOCR loads a model when it first needs it. Load them now, so that a bad file is an
            # error here and not in the middle of a video.
            blank = np.zeros((48, 96, 3), np.uint8)
            self._engine(blank, use_det=False, use_cls=False, use_rec=True)
            self._engine(blank, use_det=True, use_cls=False, use_rec=False)
            recognizer = self._engine.text_rec
            recognizer.postprocess_op = _SpaceKeeper(recognizer.postprocess_op)
        except Exception as error:
            raise OcrError(f"RapidOCR cannot load its models: {_last_line(error)}") from error

    def recognize(self, image: np.ndarray) -> list[OcrLine]:
        """See :class:`modal_gpu.ocr.engine.OcrEngine`."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise OcrError(f"OCR takes uint8 RGB images of H × W × 3, not {image.dtype} {image.shape}")
        bgr = cv2.cvtColor(_enlarged_if_small(image), cv2.COLOR_RGB2BGR)
        height, width = bgr.shape[:2]
        try:
            # All three are given at every call: RapidOCR keeps what the last call set.
            found = self._engine(bgr, use_det=True, use_cls=self.settings.classify_orientation, use_rec=True)
        except Exception as error:
            raise OcrError(f"RapidOCR failed on a {width} × {height} image: {_last_line(error)}") from error
        if found.boxes is None or not found.txts:
            return []
        lines = []
        for corners, text, score in zip(found.boxes, found.txts, found.scores, strict=True):
            box = _fraction_box(np.asarray(corners, float), width, height)
            text = re.sub(" +", " ", unicodedata.normalize("NFC", text)).strip()
            if box is not None and text and not _is_picture(box, width / height):
                lines.append(OcrLine(text, min(1.0, max(0.0, float(score))), box))
        return join_pieces(lines, width / height)


class _SpaceKeeper:
    """Decodes like RapidOCR's decoder, and keeps spaces that the model nearly saw.

    Narrow spaces often lose to the CTC blank although nothing else comes into question. A time step where
    blank wins and the space has at least this probability counts as a space. On 90 strips of an English
    clip 1 more is read exactly at 720p, 2 more at 360p, 3 more at 240p, and none less.
    """

    MIN_PROBABILITY = 0.25

    def __init__(self, decoder: CTCLabelDecode) -> None:
        self._decoder = decoder
        # The decoder itself appends the space to the model's characters.
        self._space = len(decoder.character) - 1
        if decoder.character[self._space] != " ":
            raise OcrError("this RapidOCR release orders its characters in a way that is not known here")

    def __call__(self, predictions: np.ndarray, *args: object, **options: object) -> object:
        """``predictions``: probabilities, lines × time steps × characters; blank is character 0."""
        blank = predictions.argmax(axis=2) == 0
        predictions[..., 0][blank & (predictions[..., self._space] >= self.MIN_PROBABILITY)] = 0
        return self._decoder(predictions, *args, **options)


def _enlarged_if_small(image: np.ndarray) -> np.ndarray:
    side = max(image.shape[:2])
    if side >= _SMALL_SIDE:
        return image
    factor = min(_ENLARGED_SIDE / side, _MAX_ENLARGEMENT)
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)


def _fraction_box(corners: np.ndarray, width: int, height: int) -> Box | None:
    """The upright rectangle around four corners (4 × 2 pixels), or None when nothing is inside."""
    left, top = np.clip(corners.min(axis=0) / (width, height), 0, 1).tolist()
    right, bottom = np.clip(corners.max(axis=0) / (width, height), 0, 1).tolist()
    return Box(left, top, right, bottom) if left < right and top < bottom else None


def _is_picture(box: Box, aspect: float) -> bool:
    """Whether a box fills a frame to three of its edges: large shapes are sometimes read as a letter."""
    at_edges = sum((box.left < 0.005, box.top < 0.005, box.right > 0.995, box.bottom > 0.995))
    return at_edges >= 3 and aspect < _STRIP_ASPECT


def _existing(what: str, path: Path) -> Path:
    if not path.is_file():
        raise OcrError(f"the OCR {what} {path} is not there: correct the path, or put the file in its place")
    return path


def _require_dictionary_inside(recognition: Path) -> None:
    # RapidOCR would download a Chinese dictionary, which fits no other model.
    try:
        session = onnxruntime.InferenceSession(str(recognition), providers=["CPUExecutionProvider"])
    except Exception as error:
        raise OcrError(
            f"the OCR recognition model {recognition} cannot be loaded: {_last_line(error)}"
        ) from error
    if "character" not in session.get_modelmeta().custom_metadata_map:
        raise OcrError(
            f"the OCR recognition model {recognition} holds no character dictionary: give its file as well"
        )


def _last_line(error: Exception) -> str:
    # Some of RapidOCR's errors carry a whole traceback as their message; its last line says what happened.
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__
