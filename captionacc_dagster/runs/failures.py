"""The sentence about a failed run that people read: the video's name, the error, and what to do next."""

from captionacc_dagster.dagster_internals.quiet_failures import FinalFailure
from captionacc_dagster.resources.catalog import LockHeldError, UnknownVideoError, VideoDeletedError
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

#: By class, the most special first. Messages that say themselves what to do have no entry.
_NEXT: tuple[tuple[type[CaptionAccError], str], ...] = (
    (BadVideoError, "Upload another file, and delete this video with the job delete_video."),
    (InvalidCropRegionError, "Approve another region with the job approve_layout."),
    (DamagedChunkError, "Materialize cropped_chunks and what follows it."),
    (DatabaseFileError, "Materialize the asset that makes this file, or launch the job process_video."),
    (RemoteTimeoutError, "Raise the function's time limit or shorten the video, then launch process_video."),
    (UnknownVideoError, "Upload it again; upkeep removes the partition."),
    (VideoDeletedError, "Upload it again to have it processed."),
    (LockHeldError, "Launch the job process_video once the lock is free."),
    (DiskFullError, "Then launch the job process_video."),
    (ConfigurationError, "Then launch the job process_video."),
    (OcrError, "Check it with `captionacc doctor`, then launch the job process_video."),
)
_TRANSIENT = "It may pass: launch the job process_video to try again."


def next_step(error: CaptionAccError) -> str:
    """Return a sentence on what to do after an error; nothing if its message says that."""
    for kind, advice in _NEXT:
        if isinstance(error, kind):
            return advice
    return _TRANSIENT if error.retryable else ""


def sentence(error: CaptionAccError, name: str = "", video_id: str = "") -> str:
    """Return an error's message on one line, with the name of the video it is about and the next step.

    The video's id, which people do not know, becomes ``the video``.
    """
    said = " ".join(str(error).split()) or type(error).__name__
    if video_id:
        said = said.replace(f"video {video_id}", "the video")
    advice = next_step(error)
    return (f"{name}: " if name else "") + (f"{said.rstrip('.')}. {advice}" if advice else said)


def final_failure(error: CaptionAccError, name: str = "", video_id: str = "") -> FinalFailure:
    """Return what to raise for an error that is not tried again: one sentence, without a stack."""
    return FinalFailure(sentence(error, name, video_id), type(error).__name__)
