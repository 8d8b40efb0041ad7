"""What Modal's client raises, looked up in the table of errors."""

from modal_gpu.error_table import Meaning, Row, look_up

#: Nothing is known of the call: Modal was not reached, or is overloaded.
UNANSWERED = (Meaning.UNREACHED, Meaning.UNHEARD)
_FAULT = Row("Modal", "", Meaning.FAULT)
#: Modules whose classes have rows; a function's own errors of the same name have none.
_CLIENT = ("modal.exception", "grpclib")


def row_of(error: BaseException, *, starting: bool) -> Row:
    """The row of an error. ``starting``: it came when the call was to be started.

    A result that is not there yet (the built-in ``TimeoutError`` of ``get``) is no error and not for this
    function. What the table does not know was raised by the function itself.
    """
    families = type(error).__mro__
    names = [kind.__name__ for kind in families if kind.__module__.startswith(_CLIENT) or kind is OSError]
    services = ("Modal start", "Modal") if starting else ("Modal",)
    for name in names:
        for service in services:
            if row := look_up(service, name):
                return look_up(service, name, text=str(error)) or row
    return _FAULT
