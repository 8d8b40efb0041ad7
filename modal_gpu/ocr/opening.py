"""The engine on this machine that reads some languages: RapidOCR with their models, or Tesseract."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from modal_gpu.errors import ConfigurationError
from modal_gpu.ocr.engine import BatchOcrEngine, OcrEngine
from modal_gpu.ocr.kept import kept_finders, kept_rapid_ocr
from modal_gpu.ocr.languages.letters import coverage
from modal_gpu.ocr.languages.model_files import ModelFiles
from modal_gpu.ocr.languages.registry import needed_models
from modal_gpu.ocr.languages.tags import normalized
from modal_gpu.ocr.rapid import RapidOcrSettings, model_dictionary
from modal_gpu.ocr.tesseract import TesseractEngine
from modal_gpu.ocr.tesseract_packs import checked_packs, installed_packs, pack_of


def open_local(
    base: RapidOcrSettings,
    languages: Sequence[str],
    models: ModelFiles | None,
    *,
    prefer_tesseract: bool = False,
) -> OcrEngine | BatchOcrEngine:
    """Return an engine for one worker.

    RapidOCR reads languages that its wheel or its registry has a model for, unless ``base`` names a model of
    its own or ``prefer_tesseract`` is set. Languages without a model are read by Tesseract if it has their
    language packs. Raises :class:`ConfigurationError` if neither reads a language.
    """
    wanted = normalized(languages)
    if prefer_tesseract:
        return _tesseract(base, wanted)
    if not wanted or base.recognition_model is not None:
        return kept_rapid_ocr(base)
    try:
        needed = needed_models(wanted)
    except ConfigurationError:
        if installed_packs() >= set(map(pack_of, wanted)):
            return _tesseract(base, wanted)
        raise
    missing = [model for model in needed.values() if model is not None]
    if missing and models is None:
        raise ConfigurationError(f"{', '.join(wanted)}: no folder for RapidOCR's models is set")
    paths = {tag: models.get(model) if models and model else None for tag, model in needed.items()}
    first, *more = _fewest(paths)
    return kept_rapid_ocr(replace(base, recognition_model=first, more_recognition_models=tuple(more)))


def _fewest(paths: dict[str, Path | None]) -> list[Path | None]:
    """Return the models that are needed, the first language's first; ``None`` for the wheel's.

    A model is left out if another one knows all letters of its languages: the Korean one reads English.
    """
    chosen = list(dict.fromkeys(paths.values()))
    for path in reversed(chosen):
        own = [tag for tag, model in paths.items() if model == path]
        others = [model for model in chosen if model != path and model is not None]
        if any(all(coverage(tag, model_dictionary(other)).is_full for tag in own) for other in others):
            chosen.remove(path)
    return chosen


def _tesseract(base: RapidOcrSettings, languages: Sequence[str]) -> TesseractEngine:
    packs = checked_packs(languages)
    finders = kept_finders(replace(base, recognition_model=None, dictionary=None))
    return TesseractEngine(packs, finders, min_confidence=base.min_confidence, keep_unread=base.keep_unread)
