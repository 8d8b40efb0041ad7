"""The settings of the compute functions on this machine, from the installation's. Imports no Dagster."""

from captionacc_dagster.settings import Settings
from modal_gpu.deployment.settings import modal_settings
from modal_gpu.extents.checkpoint import chosen_version
from modal_gpu.functions.settings import ComputeSettings
from modal_gpu.ocr.languages.model_files import ModelFiles


def compute_settings(settings: Settings) -> ComputeSettings:
    """Return what the functions need to know of the installation.

    Raises :class:`CheckpointError` if the chosen model does not exist, and :class:`ConfigurationError` for
    unusable settings of Google Vision.
    """
    # Choosing a model imports the store of models.
    extents_model = None
    if settings.extents_model:
        from modal_gpu.deployment.models import resolve_model

        extents_model = resolve_model(settings.extents_model, settings.home / "models")
    return ComputeSettings(
        workers=settings.worker_count,
        ocr_detection_model=settings.ocr_detection_model,
        ocr_recognition_model=settings.ocr_recognition_model,
        ocr_dictionary=settings.ocr_dictionary,
        ocr_engine=settings.ocr_engine,
        ocr_languages=settings.ocr_languages,
        ocr_models=ocr_models(settings),
        vision=settings.vision,
        extents_predictor=settings.extents_predictor,
        extents_model=extents_model,
        extents_models=settings.home / "models" / "checkpoints",
    )


def model_in_use(settings: Settings) -> str:
    """Return the version of the extents model that new results name, such as ``extents-2``.

    On Modal it is the deployment's, as set in this process's environment. Raises
    :class:`~modal_gpu.extents.checkpoint.CheckpointError` without a shipped model.
    """
    chosen = modal_settings() if settings.modal_enabled else settings
    return chosen_version(chosen.extents_predictor, chosen.extents_model)


def ocr_models(settings: Settings) -> ModelFiles:
    """Return the home's folder of RapidOCR's models for further languages."""
    return ModelFiles(settings.home / "models" / "ocr", settings.ocr_model_mirror)
