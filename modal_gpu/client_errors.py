"""Errors of Modal's client, looked up in the table of errors."""

from modal_gpu.error_table import Meaning, Row, Service, look_up

#: Nothing is known about the call: Modal was not reached, or is overloaded.
UNANSWERED = (Meaning.UNREACHED, Meaning.UNHEARD)
_FAULT = Row("Modal", "", Meaning.FAULT)
#: Modules whose classes have rows; a function's own errors of the same name have none.
_CLIENT = ("modal.exception", "grpclib")


def row_of(error: BaseException, *, starting: bool) -> Row:
    """Return the table's row for an error. ``starting``: it was raised while the call was being started.

    An error that the table does not know was raised by the function itself. Not for the built-in
    ``TimeoutError`` of ``get``, which says that a result is not ready yet.
    """
    families = type(error).__mro__
    names = [kind.__name__ for kind in families if kind.__module__.startswith(_CLIENT) or kind is OSError]
    services: tuple[Service, ...] = ("Modal start", "Modal") if starting else ("Modal",)
    for name in names:
        for service in services:
            if row := look_up(service, name):
                return look_up(service, name, text=str(error)) or row
    return _FAULT
