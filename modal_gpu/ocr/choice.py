"""Which OCR engine an installation uses. Light: imports no engine."""

from collections.abc import Mapping
from typing import Literal, get_args

from modal_gpu.errors import ConfigurationError
from modal_gpu.ocr.vision_settings import VisionSettings

OcrEngineName = Literal["rapidocr", "google_vision"]
#: What is read: whole frames, or the strips that hold captions.
OcrKind = Literal["frames", "strips"]


def default_engine(environ: Mapping[str, str]) -> OcrEngineName:
    """The engine by a container's variables: ``OCR_ENGINE``, else Vision when its secret is there.

    Raises :class:`ConfigurationError` for an engine that is not known.
    """
    wanted = environ.get("OCR_ENGINE", "").strip()
    if not wanted:
        return "google_vision" if VisionSettings.from_environ(environ).has_credentials else "rapidocr"
    for name in get_args(OcrEngineName):
        if name == wanted:
            return name
    raise ConfigurationError(f"OCR_ENGINE is {wanted!r}: give one of {', '.join(get_args(OcrEngineName))}")
