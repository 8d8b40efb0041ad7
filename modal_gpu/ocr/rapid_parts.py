"""The parts of RapidOCR that are used here, imported without its list of models.

While RapidOCR is imported, it makes two configuration objects of the models that it can download, 85 kB of
YAML: 0.2 s of CPU time, and longer beside a decoder that waits for the interpreter. A plain dictionary does,
because models have a path here and nothing is downloaded.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf


@lru_cache(maxsize=1)
def _parsed(path: Path) -> Any:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(path.read_text(encoding="utf-8"), Loader=loader)


@contextmanager
def _plain_dictionaries() -> Iterator[None]:
    """Let OmegaConf return what a file holds as it is."""
    usual = OmegaConf.load
    OmegaConf.load = staticmethod(_parsed)  # type: ignore[method-assign]
    try:
        yield
    finally:
        OmegaConf.load = staticmethod(usual)  # type: ignore[method-assign]


with _plain_dictionaries():
    from rapidocr import RapidOCR
    from rapidocr.ch_ppocr_det.utils import DetPreProcess
    from rapidocr.ch_ppocr_rec.utils import CTCLabelDecode
    from rapidocr.inference_engine.onnxruntime import OrtInferSession
    from rapidocr.main import RapidOCRError
    from rapidocr.utils.process_img import map_boxes_to_original

__all__ = [
    "CTCLabelDecode",
    "DetPreProcess",
    "OrtInferSession",
    "RapidOCR",
    "RapidOCRError",
    "map_boxes_to_original",
]
