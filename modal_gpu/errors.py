"""Errors that cross the wire between a compute function and its caller.

Each has a single message as its argument, so that it can be pickled between processes of different versions.
The message says what is wrong and what to do; it never contains a secret.
"""


class CaptionAccError(Exception):
    """Base class of this project's errors."""

    #: Whether the same call may succeed later with the same input.
    retryable = False

    @property
    def lies_with_service(self) -> bool:
        """True if the cause is a service or a setting, and not the input.

        Code that processes many videos then waits instead of failing the video.
        """
        return self.retryable or isinstance(self, ConfigurationError)


class BadVideoError(CaptionAccError):
    """A file that can never be processed as a video; the uploader has to act."""


class NotAVideoError(BadVideoError):
    """A file of no known container format, or one that is cut off before its index."""


class NoVideoStreamError(BadVideoError):
    """A media file without a video stream, for example audio only."""


class NoFramesError(BadVideoError):
    """A video stream without a frame that can be decoded."""


class InvalidCropRegionError(CaptionAccError):
    """A crop region outside [0, 1], empty, or not a number.

    Not a ``ValueError``, which pydantic would wrap and so hide its type.
    """


class InvalidIdError(CaptionAccError, ValueError):
    """A tenant or video id that is not a UUID in its canonical form."""


class InvalidKeyError(CaptionAccError, ValueError):
    """A storage key or prefix that could leave its folder, or that no store accepts."""


class ContractError(CaptionAccError):
    """Invalid data from the other side of the wire."""


class FrameRateError(ContractError):
    """A frame rate that the index space does not have; the message names those that work."""


class DatabaseFileError(CaptionAccError):
    """A SQLite file of this project that is missing, damaged, or of an unknown schema version."""


class ConfigurationError(CaptionAccError):
    """An invalid setting, or a service that refuses this installation.

    The video is not the cause: the operator has to act, and a retry then succeeds.
    """


class StorageError(CaptionAccError):
    """A transient error of the object store."""

    retryable = True


class StorageAccessError(StorageError, ConfigurationError):
    """The store's refusal of this installation: keys, rights, bucket, region, clock or quota."""

    retryable = False


class StorageRequestError(StorageError):
    """The store's permanent rejection of a request."""

    retryable = False


class ObjectNotFoundError(StorageError):
    """A missing object; a retry does not help."""

    retryable = False


class DiskFullError(StorageError, ConfigurationError):
    """A full disk, which the operator has to clear. The message names the folder."""

    retryable = False


class StorageUrlError(StorageError, ConfigurationError):
    """A storage URL or endpoint in an unknown form."""

    retryable = False


class OcrError(CaptionAccError):
    """An OCR engine that cannot be loaded, or that failed on every frame."""


class OcrUnavailableError(OcrError):
    """An OCR service that did not answer in time; it may later."""

    retryable = True


class RefusedImageError(OcrError):
    """An OCR service's rejection of an image; it may accept parts of it."""


class DamagedChunkError(CaptionAccError):
    """A stored chunk of cropped frames that is incomplete or cannot be decoded; the message names it."""


class RemoteCallError(CaptionAccError):
    """A remote call that failed and would fail again; the message names the call."""


class RemoteTimeoutError(RemoteCallError):
    """A remote call that exceeded its time limit, and would again."""


class RemoteCancelledError(RemoteCallError):
    """A remote call that was cancelled."""


class RemoteInterruptedError(RemoteCallError):
    """A remote call that ended without a result for external reasons; a new call may succeed."""

    retryable = True


class RemoteUnavailableError(RemoteCallError):
    """A service that cannot be reached. A call that was started continues; the next attempt finds it."""

    retryable = True
