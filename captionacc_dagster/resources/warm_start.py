"""The shared state of a machine's run processes: importing this module loads it, for the fork server only.

With the local backend that is the code of the compute functions and the models of OCR, which each run would
load again (:func:`load_compute`): 1.1 CPU seconds, as much as the rest of a short run. A fork has them at
once and shares their memory. Sessions of ONNX Runtime with one thread hold no thread that a fork would lose.
Whatever uses CUDA, Google Vision or Modal is left to the run.

An error is left to the run too, which reports it with its video.
"""

import gc
import logging

from captionacc_dagster.settings import Settings, get_settings

_log = logging.getLogger(__name__)


def load_compute(settings: Settings) -> None:
    """Import the functions and load the OCR models that runs on this machine use."""
    if settings.modal_enabled:
        return
    import cv2

    import modal_gpu.extents.predictors
    import modal_gpu.functions.caption_ocr
    import modal_gpu.functions.crop_infer
    import modal_gpu.functions.extract
    import modal_gpu.media.chunks  # noqa: F401  # the checks use it
    from captionacc_dagster.resources.compute_settings import compute_settings

    compute = compute_settings(settings)
    if compute.ocr_engine != "rapidocr" or compute.ocr_cuda:
        return
    # A pool of OpenCV that has begun to work would miss its threads after the fork.
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        # Engines of further workers share these models.
        compute.open_ocr("frames")
        compute.open_ocr("strips")
    finally:
        cv2.setNumThreads(threads)


def _load() -> None:
    try:
        load_compute(get_settings())
    except Exception as error:
        _log.warning("runs load their models themselves: %s: %s", type(error).__name__, error)
    # Forks share what is never collected; a collection would write to each object and so copy its page.
    gc.collect()
    gc.freeze()


_load()
