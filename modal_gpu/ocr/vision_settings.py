"""Settings of Google Vision. Imports nothing of Google."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modal_gpu.errors import ConfigurationError

#: The global host; ``eu-vision.googleapis.com`` and ``us-vision.googleapis.com`` keep images in their region.
DEFAULT_ENDPOINT = "vision.googleapis.com"
_JSON_VARIABLES = ("GOOGLE_APPLICATION_CREDENTIALS_JSON", "GOOGLE_VISION_CREDENTIALS_JSON")
_FILE_VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"
_LOOPBACK = {"localhost", "127.0.0.1", "[::1]"}


@dataclass(frozen=True)
class VisionSettings:
    """Credentials, endpoint, languages and retry times.

    ``credentials_json`` is the content of a service account's key and overrides ``credentials_file``.
    """

    credentials_json: str = field(default="", repr=False)
    credentials_file: Path | None = None
    #: ``host`` or ``host:port``. With a loopback address the channel is plain text and without credentials,
    #: for tests and emulators.
    endpoint: str = DEFAULT_ENDPOINT
    #: BCP-47 codes. Google advises against hints unless the language is known.
    language_hints: tuple[str, ...] = ()
    #: Most frames stacked into one image, Google's unit of billing; 1 sends each frame separately.
    montage_images: int = 100
    #: Lines with a lower confidence are dropped, as with RapidOCR.
    min_confidence: float = 0.5
    #: Limits on one attempt and on all attempts of a request. Quotas are per minute.
    call_seconds: float = 60.0
    retry_seconds: float = 120.0
    #: Wait after the first attempt; it doubles, up to 30 s.
    first_wait_seconds: float = 1.0

    def __post_init__(self) -> None:
        host = self.endpoint.removeprefix("https://").removeprefix("http://").rstrip("/")
        if not host or "/" in host or any(map(str.isspace, host)):
            raise ConfigurationError(
                f"GOOGLE_VISION_ENDPOINT is {self.endpoint!r}: set a host such as eu-vision.googleapis.com"
            )
        if self.endpoint.startswith("http://") and not _is_loopback(host):
            raise ConfigurationError(
                f"GOOGLE_VISION_ENDPOINT {self.endpoint} is plain text on another machine: set only the host"
            )
        object.__setattr__(self, "endpoint", host)
        if self.montage_images < 1:
            raise ConfigurationError("GOOGLE_VISION_MONTAGE must be 1 or more: 1 sends each frame separately")

    @property
    def is_loopback(self) -> bool:
        """True if the endpoint is a loopback address, with a plain-text channel."""
        return _is_loopback(self.endpoint)

    @property
    def has_credentials(self) -> bool:
        """True if credentials are set; they may be invalid."""
        return bool(self.credentials_json or self.credentials_file)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "VisionSettings":
        """Build the settings from environment variables, as in a container with the secret ``google-vision``.

        ``GOOGLE_APPLICATION_CREDENTIALS_JSON`` or ``GOOGLE_VISION_CREDENTIALS_JSON`` holds a key's content,
        ``GOOGLE_APPLICATION_CREDENTIALS`` a file's path or, in some deployments, the content. The others are
        ``GOOGLE_VISION_ENDPOINT``, ``GOOGLE_VISION_LANGUAGE_HINTS`` (``zh,en``) and
        ``GOOGLE_VISION_MONTAGE``. Raises :class:`ConfigurationError` for an invalid value.
        """
        content = next((environ[name] for name in _JSON_VARIABLES if environ.get(name, "").strip()), "")
        file = environ.get(_FILE_VARIABLE, "").strip()
        if file.startswith("{"):
            content, file = content or file, ""
        montage = environ.get("GOOGLE_VISION_MONTAGE", "").strip() or str(cls.montage_images)
        if not montage.isdecimal():
            raise ConfigurationError(f"GOOGLE_VISION_MONTAGE is {montage!r}: set a number of frames")
        return cls(
            credentials_json=content,
            credentials_file=Path(file) if file else None,
            endpoint=environ.get("GOOGLE_VISION_ENDPOINT", "").strip() or DEFAULT_ENDPOINT,
            language_hints=language_codes(environ.get("GOOGLE_VISION_LANGUAGE_HINTS", "")),
            montage_images=int(montage),
        )


def language_codes(text: str) -> tuple[str, ...]:
    """Split ``zh, en`` into ``("zh", "en")``; an empty text into ``()``."""
    return tuple(code.strip() for code in text.split(",") if code.strip())


def _is_loopback(endpoint: str) -> bool:
    host, colon, port = endpoint.rpartition(":")
    return (host if colon and port.isdecimal() else endpoint) in _LOOPBACK
