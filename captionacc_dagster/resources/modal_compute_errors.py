"""What Modal's client raises, sorted by what it means for a call."""

from enum import Enum, auto
from typing import Any


class Meaning(Enum):
    """What became of a call whose result was asked for, or that was to be started."""

    #: The service was not reached, or is overloaded: nothing is known of the call.
    UNREACHED = auto()
    #: No right to ask, or nothing of this name is deployed: a person has to act.
    CONFIGURATION = auto()
    #: The function's own time-out.
    TIMED_OUT = auto()
    #: The call, or its result, is no longer there; or Modal failed.
    LOST = auto()
    #: Modal ended the call: somebody cancelled it, or its container died.
    STOPPED = auto()
    #: The function raised something.
    FAILED = auto()


def meaning(error: Exception, exceptions: Any, *, starting: bool) -> Meaning:
    """Sort an error. ``exceptions`` is ``modal.exception``; ``starting``: it came when spawning.

    A result that is not there yet (the built-in ``TimeoutError`` of ``get``) is no error and not
    for this function.
    """
    from grpclib.exceptions import GRPCError, StreamTerminatedError

    e = exceptions
    if isinstance(error, e.FunctionTimeoutError):
        return Meaning.TIMED_OUT
    if isinstance(error, e.AuthError | e.PermissionDeniedError | e.VersionError):
        return Meaning.CONFIGURATION
    if isinstance(error, e.NotFoundError):
        return Meaning.CONFIGURATION if starting else Meaning.LOST
    if isinstance(error, e.OutputExpiredError | e.InternalFailure | e.DataLossError):
        return Meaning.LOST
    if isinstance(error, e.RemoteError):
        return Meaning.STOPPED
    if isinstance(error, e.ConflictError | e.InvalidError | e.UnimplementedError | e.AlreadyExistsError):
        return Meaning.FAILED
    unreached = (
        e.ConnectionError,
        e.ServiceError,
        e.InternalError,
        e.ResourceExhaustedError,
        e.ClientClosed,
        StreamTerminatedError,
        GRPCError,
        # A function's own OSError comes as data, so this one is a socket's on this side.
        OSError,
    )
    return Meaning.UNREACHED if isinstance(error, unreached) else Meaning.FAILED
