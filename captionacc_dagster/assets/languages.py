"""The languages in which a video's captions are read: its own, its tenant's, or the installation's."""

from collections.abc import Sequence

from captionacc_dagster.resources.catalog import Catalog, VideoRow
from captionacc_dagster.settings import get_settings


def languages_of(catalog: Catalog, video: VideoRow) -> list[str]:
    """Return the BCP-47 tags; empty where nothing names a language."""
    if video.ocr_languages:
        return video.ocr_languages
    return catalog.get_tenant(video.tenant_id).ocr_languages or list(get_settings().ocr_languages)


def has_language(languages: Sequence[str]) -> bool:
    """Return whether another model than that of RapidOCR's wheel reads, as far as this side knows.

    A container on Modal may use Google Vision, unless ``OCR_ENGINE`` is set here as it is there.
    """
    settings = get_settings()
    if languages or settings.ocr_engine != "rapidocr" or settings.ocr_recognition_model is not None:
        return True
    return settings.modal_enabled and "ocr_engine" not in settings.model_fields_set
