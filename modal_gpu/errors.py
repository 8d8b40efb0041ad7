"""Errors that cross the wire between a compute function and its caller.

Each is built from one message only, so that it survives pickling between two processes at
different versions. The message says what is wrong and what to do; it never holds a secret.
"""


class CaptionAccError(Exception):
    """Base of every error of this project."""

    #: Whether the same call may succeed later without anybody changing its input.
    retryable = False

    @property
    def lies_with_service(self) -> bool:
        """Whether a service or a setting is to blame, and not what was asked for.

        Whoever watches over many videos waits then, and blames none of them.
        """
        return self.retryable or isinstance(self, ConfigurationError)


class BadVideoError(CaptionAccError):
    """The file cannot be processed as a video, now or ever; the uploader has to act."""


class NotAVideoError(BadVideoError):
    """The bytes are no container that the demuxers know, or it is cut off before its index."""


class NoVideoStreamError(BadVideoError):
    """A media file without a video stream, for example audio only."""


class NoFramesError(BadVideoError):
    """A video stream of which no frame can be decoded."""


class InvalidCropRegionError(CaptionAccError):
    """A crop region outside [0, 1], empty, or not a number.

    Not a ``ValueError``: pydantic would wrap that one and hide the type.
    """


class InvalidIdError(CaptionAccError, ValueError):
    """A tenant or video id that is not a UUID in its canonical form."""


class InvalidKeyError(CaptionAccError, ValueError):
    """A storage key or prefix that could leave its folder, or that no store accepts."""


class ContractError(CaptionAccError):
    """Data from the other side of the wire that this side cannot accept."""


class DatabaseFileError(CaptionAccError):
    """A SQLite file of this project is missing, damaged, or of an unknown schema version."""


class ConfigurationError(CaptionAccError):
    """A setting asks for something that is not there, or a service refuses this installation.

    Nothing is wrong with the video: whoever runs the installation has to act, and a retry then succeeds.
    """


class StorageError(CaptionAccError):
    """The object store answered with an error that may pass."""

    retryable = True


class StorageAccessError(StorageError, ConfigurationError):
    """The store refuses this installation: keys, rights, bucket, region, clock or room."""

    retryable = False


class StorageRequestError(StorageError):
    """The store does not take this request, now or later."""

    retryable = False


class ObjectNotFoundError(StorageError):
    """The object is not there; asking again will not help."""

    retryable = False


class DiskFullError(StorageError, ConfigurationError):
    """A disk has no room; nothing helps but to make some. The message names the folder."""

    retryable = False


class StorageUrlError(StorageError, ConfigurationError):
    """A storage URL or endpoint of a form that this project does not know."""

    retryable = False


class OcrError(CaptionAccError):
    """The OCR engine cannot be loaded or failed on every frame."""


class OcrUnavailableError(OcrError):
    """An OCR service did not answer for as long as it was asked; it may later."""

    retryable = True


class RefusedImageError(OcrError):
    """An OCR service does not take this very image; it may take its parts."""


class DamagedChunkError(CaptionAccError):
    """A stored chunk of cropped frames that is incomplete or cannot be decoded; the message names it."""


class RemoteCallError(CaptionAccError):
    """A call of a remote function failed there, and would again; the message names the call."""


class RemoteTimeoutError(RemoteCallError):
    """A remote function ran, or was waited for, longer than it may; as long again would end the same way."""


class RemoteCancelledError(RemoteCallError):
    """Somebody cancelled the call while it was waited for."""


class RemoteInterruptedError(RemoteCallError):
    """The call ended without a result and not by its own fault; a new one may succeed."""

    retryable = True


class RemoteUnavailableError(RemoteCallError):
    """The service is not reached. A call that was started goes on; the next attempt finds it."""

    retryable = True
