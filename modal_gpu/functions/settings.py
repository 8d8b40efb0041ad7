"""Settings of the functions that depend on the machine and the installation."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from modal_gpu.cores import available_cores
from modal_gpu.extents.block_size import DEFAULT_BLOCK
from modal_gpu.ocr.choice import OcrEngineName, OcrKind
from modal_gpu.ocr.vision_settings import VisionSettings
from modal_gpu.ocr.vision_tally import ImageTally

if TYPE_CHECKING:
    from modal_gpu.extents.predictor import PairPredictor
    from modal_gpu.ocr.engine import BatchOcrEngine, OcrEngine
    from modal_gpu.ocr.languages.model_files import ModelFiles
    from modal_gpu.ocr.rapid import RapidOcrSettings


@dataclass(frozen=True)
class ComputeSettings:
    """Settings of an installation. Model files default to those in RapidOCR's wheel."""

    #: Number of CPU workers; 0 for one per core.
    workers: int = 0
    ocr_detection_model: Path | None = None
    ocr_recognition_model: Path | None = None
    ocr_dictionary: Path | None = None
    ocr_engine: OcrEngineName = "rapidocr"
    #: Languages of captions (BCP-47) where a request names none; empty for those of the wheel's models.
    ocr_languages: tuple[str, ...] = ()
    #: Models of other languages; ``None`` where only the wheel's may be used.
    ocr_models: "ModelFiles | None" = None
    #: Contains credentials, so it must not be in a run's config or in a request.
    vision: VisionSettings = field(default_factory=VisionSettings)
    #: Counter of the images that Google bills, for this process.
    vision_images: ImageTally = field(default_factory=ImageTally, compare=False, repr=False)
    #: ``network`` is the trained model; ``strokes`` does without one and is less accurate on hard footage.
    extents_predictor: Literal["strokes", "network"] = "network"
    #: Checkpoint of the network; the shipped one by default.
    extents_model: Path | None = None
    #: Folder of other models, for calls that name a version.
    extents_models: Path | None = None
    #: Strips that a GPU judges together: 32, 64, 128 …; halves itself where its memory does not suffice.
    extents_block: int = DEFAULT_BLOCK
    #: Decode videos on a GPU (NVDEC) where there is one that can; software is the fallback for each file.
    gpu_decoding: bool = False
    #: Keep a downloaded video for the next call. For a process that serves one call at a time.
    keep_video: bool = False
    #: RapidOCR on the GPU, which requires onnxruntime-gpu.
    ocr_cuda: bool = False

    @property
    def worker_count(self) -> int:
        """Number of workers: ``workers``, or one per core."""
        return self.workers or available_cores()

    def predictor(self) -> "PairPredictor":
        """Return the pair predictor; the network stays loaded in this process.

        Raises :class:`CheckpointError` if the network's file is incomplete.
        """
        if self.extents_predictor == "network":
            return _kept_network(self.extents_model, self.extents_block)
        from modal_gpu.extents.strokes import StrokePredictor

        return StrokePredictor()

    def predictor_of(self, version: str) -> "PairPredictor":
        """Return the predictor of a model's version, which stays loaded in place of the one before.

        Raises :class:`CheckpointError` for a version that is not stored, or whose file is incomplete.
        """
        from modal_gpu.extents.checkpoint import checkpoint_of, shipped

        path = checkpoint_of(version, self.extents_models)
        return _kept_network(None if path == shipped() else path, self.extents_block)

    def open_ocr(self, kind: OcrKind, languages: Sequence[str] = ()) -> "OcrEngine | BatchOcrEngine":
        """Return an engine for one worker, for full frames or for caption strips in these languages.

        Models stay loaded in this process. Raises :class:`OcrError` if a model is missing or unusable, and
        :class:`ConfigurationError` if no engine reads a language, or without usable credentials.
        """
        if self.ocr_engine == "google_vision":
            from modal_gpu.ocr.google_vision import GoogleVisionEngine

            return GoogleVisionEngine(self.vision, self.vision_images)
        from modal_gpu.ocr.opening import open_local
        from modal_gpu.ocr.rapid import FULL_FRAME, STRIP

        base = self.ocr(STRIP if kind == "strips" else replace(FULL_FRAME, keep_unread=True))
        wanted = tuple(languages) or self.ocr_languages
        return open_local(base, wanted, self.ocr_models, prefer_tesseract=self.ocr_engine == "tesseract")

    def has_language(self, languages: Sequence[str] = ()) -> bool:
        """Return whether a request for ``languages`` is read with another model than the wheel's."""
        is_wheel = self.ocr_engine == "rapidocr" and self.ocr_recognition_model is None
        return bool(languages or self.ocr_languages) or not is_wheel

    def ocr(self, base: "RapidOcrSettings | None" = None) -> "RapidOcrSettings":
        """Return RapidOCR's settings ``base`` (full frames by default) with this installation's models."""
        from modal_gpu.ocr.rapid import FULL_FRAME

        return replace(
            base or FULL_FRAME,
            detection_model=self.ocr_detection_model,
            recognition_model=self.ocr_recognition_model,
            dictionary=self.ocr_dictionary,
            use_cuda=self.ocr_cuda,
        )


@lru_cache(maxsize=1)
def _kept_network(path: Path | None, block: int) -> "PairPredictor":
    from modal_gpu.extents.predictors import load_predictor

    return load_predictor(path, block=block)
