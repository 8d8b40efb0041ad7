"""Errors of the adoption."""

from modal_gpu.errors import CaptionAccError, ConfigurationError

#: What may be wrong if the predecessor shows no videos.
MAYBE_HIDDEN = (
    "If it has some, its row-level security hides them: give the role BYPASSRLS, or use the service-role key."
)


class PredecessorError(ConfigurationError):
    """The predecessor's catalogue or bucket cannot be read with these settings."""


class ReadOnlyError(CaptionAccError):
    """Something tried to change the predecessor, which is only read."""


class RefusedVideoError(CaptionAccError):
    """A video that cannot be adopted without losing something; the message says what and why."""
