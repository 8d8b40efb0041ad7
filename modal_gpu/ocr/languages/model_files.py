"""Recognition models of the registry as files in a folder: fetched once, and verified by their hash."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from modal_gpu.disk_full import disk_full
from modal_gpu.errors import ConfigurationError, OcrError, OcrUnavailableError

if TYPE_CHECKING:
    from modal_gpu.ocr.languages.registry import RegistryModel

#: Seconds without an answer or a byte.
_TIMEOUT, _CONNECT_TIMEOUT = 30.0, 10.0
#: Largest size of a model's file.
_LIMIT = 200 * 2**20

#: Called with the bytes received and their total, 0 if the server does not say it.
Received = Callable[[int, int], None]


def _ignore(received: int, total: int) -> None:
    """Ignore progress."""


@dataclass(frozen=True)
class ModelFiles:
    """The folder of the models, and where they come from.

    ``mirror`` is the address of a copy of the registry's files, which replaces scheme and host of their
    addresses. ``shelves`` are further folders that may hold models and are never written.
    """

    folder: Path
    mirror: str = ""
    shelves: tuple[Path, ...] = ()

    def find(self, model: "RegistryModel") -> Path | None:
        """Return the file of a model that a folder holds with its hash."""
        for folder in (self.folder, *self.shelves):
            path = folder / model.file_name
            if path.is_file() and _sha256(path) == model.sha256:
                return path
        return None

    def get(self, model: "RegistryModel", received: Received = _ignore) -> Path:
        """Return the model's file; fetch it if the folder lacks it or holds another content.

        Raises :class:`OcrUnavailableError` if the server cannot be reached or fails, :class:`OcrError` if
        its file has another hash, :class:`DiskFullError`, and :class:`ConfigurationError` if the server
        refuses or the folder cannot be written.
        """
        if (found := self.find(model)) is not None:
            return found
        path = self.folder / model.file_name
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._fetch(model, path, received)
        except OSError as error:
            if full := disk_full(error, self.folder):
                raise full from None
            reason = error.strerror or error
            raise ConfigurationError(
                f"the OCR model {model.key} cannot be stored: {path}: {reason}"
            ) from None
        return path

    def address(self, model: "RegistryModel") -> str:
        """Return the model's address, at the mirror if there is one."""
        if not self.mirror:
            return model.url
        return self.mirror.rstrip("/") + urlsplit(model.url).path

    def _fetch(self, model: "RegistryModel", path: Path, received: Received) -> None:
        """Write the file beside its place, and move it there once its hash is right."""
        handle, name = tempfile.mkstemp(dir=self.folder, prefix=f"{path.name}.", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                digest = self._receive(model, file.write, received)
            if digest != model.sha256:
                raise OcrError(
                    f"the file of the OCR model {model.key} at {self.address(model)} is not the registry's: "
                    f"its SHA-256 is {digest}, not {model.sha256}; it was not kept"
                )
            Path(name).replace(path)
        finally:
            Path(name).unlink(missing_ok=True)

    def _receive(self, model: "RegistryModel", write: Callable[[bytes], int], received: Received) -> str:
        """Pass the file's bytes to ``write``; return their SHA-256."""
        import httpx

        url, digest, count = self.address(model), hashlib.sha256(), 0
        timeout = httpx.Timeout(_TIMEOUT, connect=_CONNECT_TIMEOUT)
        advice = "`captionacc ocr install` fetches it beforehand, OCR_MODEL_MIRROR names another address"
        try:
            with httpx.stream("GET", url, timeout=timeout, follow_redirects=True) as response:
                if response.status_code >= 500:
                    raise OcrUnavailableError(
                        f"the OCR model {model.key} cannot be fetched: {url} answers "
                        f"{response.status_code}; {advice}"
                    )
                if response.is_error:
                    raise ConfigurationError(
                        f"the OCR model {model.key} is not at {url} (status {response.status_code}); {advice}"
                    )
                total = int(response.headers.get("content-length") or 0)
                for piece in response.iter_bytes(2**16):
                    digest.update(piece)
                    count += len(piece)
                    if count > _LIMIT:
                        raise OcrError(f"the file at {url} is too large for an OCR model; it was not kept")
                    write(piece)
                    received(count, total)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = str(error) or type(error).__name__
            raise OcrUnavailableError(
                f"the OCR model {model.key} cannot be fetched from {url}: {reason}; {advice}"
            ) from None
        return digest.hexdigest()


def _sha256(path: Path) -> str:
    stat = path.stat()
    return _sha256_of(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=32)
def _sha256_of(path: Path, size: int, modified: int) -> str:
    """Return the hash of a file in a certain state, which each worker asks for."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
