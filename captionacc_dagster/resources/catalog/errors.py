"""Errors of the catalogue. Each message is one line and holds no password or key."""

from collections.abc import Mapping

from modal_gpu.errors import CaptionAccError, ConfigurationError, InvalidCropRegionError


class CatalogError(CaptionAccError):
    """The catalogue refused a call, or is not set up."""


class CatalogUnavailableError(CatalogError):
    """The database does not answer, or took too long; the call may or may not have been carried out."""

    retryable = True


class CatalogAccessError(CatalogError, ConfigurationError):
    """The database refuses this installation (password, right, schema, disk); an operator has to act."""


class UnknownVideoError(CatalogError):
    """No video has this id."""


class WrongStateError(CatalogError):
    """The state does not allow this step, or another run works on the stage."""


class LockHeldError(CatalogError):
    """Another holder has the database's lock."""

    retryable = True
    lies_with_service = False


class LockLostError(CatalogError):
    """The lease expired and another holder took the lock: nothing more may be written under it.

    The next attempt waits for the lock and reads what its holder wrote.
    """

    retryable = True
    lies_with_service = False


class UnknownTenantError(CatalogError):
    """No tenant has this id."""


class VideoDeletedError(CatalogError):
    """The video was deleted by its owner."""


class AlreadyRegisteredError(CatalogError):
    """The video id or its storage key belongs to another upload."""


class UnknownVersionError(CatalogError):
    """The video has no cropped-frames version of this number."""


class InvalidArgumentError(CatalogError):
    """A value that no call accepts, such as an unknown stage."""


class NotPermittedError(CatalogError):
    """The user of the request may not do this, or not with this video."""


class TooManyCallsError(CatalogError):
    """The user of the request has called too often, or has too much unfinished work; it works again later."""


class QuotaExceededError(CatalogError):
    """The tenant's quota does not allow another video, or one of this size, now."""


class UnknownRequestError(CatalogError):
    """No job, rejection, caption OCR request, compute call, backfill or cancelled run has this id."""


class EmbeddedPostgresError(CaptionAccError):
    """The embedded server cannot be started, reached or stopped; the message says what to do."""


#: The errors that the SQL functions raise, by SQLSTATE.
ERRORS_BY_SQLSTATE: Mapping[str, type[CaptionAccError]] = {
    "CA001": UnknownVideoError,
    "CA002": WrongStateError,
    "CA003": InvalidCropRegionError,
    "CA004": LockHeldError,
    "CA005": LockLostError,
    "CA006": UnknownTenantError,
    "CA007": VideoDeletedError,
    "CA008": AlreadyRegisteredError,
    "CA009": UnknownVersionError,
    "CA010": InvalidArgumentError,
    "CA011": NotPermittedError,
    "CA012": UnknownRequestError,
    "CA013": TooManyCallsError,
    "CA014": QuotaExceededError,
}
