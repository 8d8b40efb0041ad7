"""Errors of the command line that only a command itself can find; their exit code is that of click's own."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from modal_gpu.errors import CaptionAccError


def usage_error(message: object) -> click.UsageError:
    """Return the error for a command line that is wrong whatever the catalogue holds."""
    return click.UsageError(str(message), click.get_current_context(silent=True))


@contextmanager
def as_usage_errors() -> Iterator[None]:
    """Turn the errors of a block that only checks values of the command line into usage errors."""
    try:
        yield
    except CaptionAccError as error:
        raise usage_error(error) from None
