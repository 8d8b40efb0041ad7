"""The sentence about a failed run that people read: the video's name, the error, and what to do next."""

from captionacc_dagster.dagster_internals.quiet_failures import FinalFailure, QuietRetry
from captionacc_dagster.resources.catalog import LockHeldError, UnknownVideoError, VideoDeletedError
from captionacc_dagster.runs.retries import Retries
from modal_gpu.errors import (
    BadVideoError,
    CaptionAccError,
    ConfigurationError,
    DamagedChunkError,
    DatabaseFileError,
    DiskFullError,
    InvalidCropRegionError,
    OcrError,
    RemoteTimeoutError,
)

CANCELLED = "The run was cancelled; retry it to go on."

#: What repeats the work of an asset's run.
PROCESS_AGAIN = "launch the job process_video"
#: By class, the most special first; ``{again}`` is what repeats the work.
#: Messages that say themselves what to do have no entry.
_NEXT: tuple[tuple[type[CaptionAccError], str], ...] = (
    (BadVideoError, "Upload another file, and delete this video with the job delete_video."),
    (InvalidCropRegionError, "Approve another region with the job approve_layout."),
    (DamagedChunkError, "Materialize cropped_chunks and what follows it."),
    (DatabaseFileError, "Materialize the asset that makes this file, or launch the job process_video."),
    (RemoteTimeoutError, "Raise the function's time limit or shorten the video, then {again}."),
    (UnknownVideoError, "Upload it again; upkeep removes the partition."),
    (VideoDeletedError, "Upload it again to have it processed."),
    (LockHeldError, "Once the lock is free, {again}."),
    (DiskFullError, "Then {again}."),
    (ConfigurationError, "Then {again}."),
    (OcrError, "Check it with `captionacc doctor`, then {again}."),
)
_TRANSIENT = "It may pass: {again} to try once more."


def next_step(error: CaptionAccError, again: str = PROCESS_AGAIN) -> str:
    """Return a sentence on what to do after an error; nothing if its message says that."""
    for kind, advice in _NEXT:
        if isinstance(error, kind):
            return advice.format(again=again)
    return _TRANSIENT.format(again=again) if error.retryable else ""


def sentence(error: CaptionAccError, name: str = "", video_id: str = "", again: str = PROCESS_AGAIN) -> str:
    """Return an error's message on one line, with the name of the video it is about and the next step.

    ``again``: what repeats the work. The video's id, which people do not know, becomes ``the video``.
    """
    said, advice = _message(error, name, video_id), next_step(error, again)
    return f"{said.rstrip('.')}. {advice}" if advice else said


def final_failure(
    error: CaptionAccError, name: str = "", video_id: str = "", again: str = PROCESS_AGAIN
) -> FinalFailure:
    """Return what to raise for an error that is not tried again: one sentence, without a stack."""
    return FinalFailure(sentence(error, name, video_id, again), type(error).__name__)


def retry(error: CaptionAccError, name: str, video_id: str, policy: Retries, tries: int) -> QuietRetry:
    """Return what to raise for an error of the ``tries``-th attempt, from 1, that is tried again."""
    delay = policy.delay(tries)
    said = f"{_message(error, name, video_id)} (try {tries} of {policy.most + 1}; again in {delay:.0f} s)"
    return QuietRetry(said, type(error).__name__, max_retries=policy.most, seconds_to_wait=delay)


def _message(error: CaptionAccError, name: str, video_id: str) -> str:
    said = " ".join(str(error).split()) or type(error).__name__
    if video_id:
        said = said.replace(f"video {video_id}", "the video")
    return f"{name}: {said}" if name else said
