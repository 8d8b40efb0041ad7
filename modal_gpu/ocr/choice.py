"""Choice of an installation's OCR engine. Imports no engine."""

from collections.abc import Mapping
from typing import Literal, get_args

from modal_gpu.errors import ConfigurationError
from modal_gpu.ocr.vision_settings import VisionSettings

OcrEngineName = Literal["rapidocr", "tesseract", "google_vision"]
#: The kind of image to read: full frames, or caption strips.
OcrKind = Literal["frames", "strips"]


def default_engine(environ: Mapping[str, str]) -> OcrEngineName:
    """Return the engine of ``OCR_ENGINE``, else Google Vision if it has credentials, else RapidOCR.

    Raises :class:`ConfigurationError` for an unknown engine.
    """
    wanted = environ.get("OCR_ENGINE", "").strip()
    if not wanted:
        return "google_vision" if VisionSettings.from_environ(environ).has_credentials else "rapidocr"
    for name in get_args(OcrEngineName):
        if name == wanted:
            return name
    raise ConfigurationError(
        f"OCR_ENGINE is {wanted!r}: set it to one of {', '.join(get_args(OcrEngineName))}"
    )
