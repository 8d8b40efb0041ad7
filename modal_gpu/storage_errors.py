"""Translation of the object store library's errors, and validation of store addresses.

Errors name the key, the store and what to do in one line. They never contain credentials, nor the server's
reply, in which S3 servers repeat the access key.
"""

import errno
import os
import re
from urllib.parse import SplitResult, urlsplit

from obstore.exceptions import BaseError, InvalidPathError

from modal_gpu.disk_full import ADVICE
from modal_gpu.error_table import Meaning, Row, look_up
from modal_gpu.errors import (
    CaptionAccError,
    DiskFullError,
    InvalidKeyError,
    ObjectNotFoundError,
    StorageAccessError,
    StorageError,
    StorageRequestError,
    StorageUrlError,
)

#: Codes in S3's replies, including those to a request that deletes many objects.
_CODE = re.compile(r"(?:<Code>|\(code: )([\w.]{1,60})")
_STATUS = re.compile(r"non-2xx status code: (\d{3})")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_HOSTED_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")

_REASONS = {
    "NoSuchBucket": "there is no such bucket",
    "no-credentials": "no credentials",
    "bad-certificate": "the connection is not secure",
    "no-answer": "the connection timed out",
    "no-connection": "the connection failed",
    "301": "the bucket is in another region",
}


def is_storage_error(error: BaseException) -> bool:
    """Return whether :func:`translated` handles the error. A panic in Rust is not an ``Exception``."""
    return isinstance(error, BaseError | OSError | ValueError | NotImplementedError) or _is_panic(error)


def is_refusal(error: BaseException) -> bool:
    """Return whether the store denied access with these keys."""
    _, row = _reported(error)
    return row is not None and row.sign in ("AccessDenied", "403")


def _is_panic(error: BaseException) -> bool:
    return type(error).__name__ == "PanicException"


def translated(error: BaseException, what: str, *, is_folder: bool) -> CaptionAccError:
    """Return the error to raise instead. ``what`` is the failed action, with the key and the store's name."""
    if isinstance(error, CaptionAccError):
        return error
    if isinstance(error, InvalidPathError):
        return InvalidKeyError(f"{what}: the store does not accept this key")
    if _is_panic(error):
        return StorageAccessError(
            f"{what}: its client rejects these settings. Check WASABI_ENDPOINT_URL, the bucket's name, the "
            "keys and CAPTIONACC_STORAGE_PATH_STYLE."
        )
    number = _errno(error) if is_folder or isinstance(error, OSError) else None
    if number is not None:
        row = look_up("file system", errno.errorcode.get(number, ""))
        if row is not None and row.meaning is Meaning.FULL:
            return DiskFullError(f"the disk is full: {what}; {ADVICE}")
        reason = os.strerror(number)
    else:
        code, row = _reported(error)
        reason = "the file system refused it" if is_folder else _reason(error, code, row)
    kind = _kind(row.meaning if row else Meaning.UNHEARD)
    if kind is ObjectNotFoundError:
        reason = "there is no such object"
    advice = f". {row.advice[0].upper()}{row.advice[1:]}." if row and row.advice else ""
    return kind(f"{what}: {reason}{advice}")


def _errno(error: BaseException) -> int | None:
    """Return an operating system's error number, which the library reports only in its text."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found.group(1)) if found else None


def _reported(error: BaseException) -> tuple[str, Row | None]:
    """Return the server's code or status, and its row. Nothing else is taken from the text."""
    text = str(error)
    code = next(iter(_CODE.findall(text)), "")
    status = next(iter(_STATUS.findall(text)), "")
    if code or status:
        return code or status, look_up("S3", code, status)
    if isinstance(error, FileNotFoundError):
        return "", look_up("S3", "404")
    return "", look_up("S3", text=text)


def _reason(error: BaseException, code: str, row: Row | None) -> str:
    if row is not None and row.sign in _REASONS:
        return _REASONS[row.sign]
    if row is not None and row.meaning is Meaning.SETTING:
        return f"access was refused ({code})"
    return f"the server answered {code}" if code else type(error).__name__


def _kind(meaning: Meaning) -> type[StorageError]:
    if meaning.passes:
        return StorageError
    if meaning is Meaning.ABSENT:
        return ObjectNotFoundError
    return StorageAccessError if meaning.is_operators else StorageRequestError


def checked_endpoint(endpoint: str | None, bucket: str, *, path_style: bool) -> SplitResult:
    """Return the address of requests for the bucket, empty for AWS's own. The default scheme is https.

    Raises :class:`StorageUrlError` for an invalid address, on which the library would panic.
    """
    if not _BUCKET.fullmatch(bucket):
        raise StorageUrlError(
            f"{bucket[:80]!r} is not a bucket's name, which has letters, digits, dots and hyphens: correct "
            "WASABI_BUCKET or CAPTIONACC_STORAGE_URL"
        )
    if not endpoint:
        return urlsplit("")
    try:
        parts = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    if not _HOST.fullmatch(host) or parts.scheme not in ("http", "https") or parts.query or parts.fragment:
        # The message does not repeat the address, which may contain a password.
        raise StorageUrlError(
            "WASABI_ENDPOINT_URL is not the address of a server, such as https://s3.example.com or "
            "http://127.0.0.1:9000"
        )
    if path_style or parts.netloc.rpartition("@")[2].startswith(f"{bucket}."):
        return parts
    if not _HOSTED_BUCKET.fullmatch(bucket) or _is_address(host):
        wrong = f"the endpoint {host} is an IP address" if _is_address(host) else f"it is named {bucket!r}"
        raise StorageUrlError(
            f"the bucket's name cannot be part of the host's name, since {wrong}: set "
            "CAPTIONACC_STORAGE_PATH_STYLE=true"
        )
    # The library expects the bucket in a virtual-hosted endpoint.
    user, at, address = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user}{at}{bucket}.{address}")


def _is_address(host: str) -> bool:
    """Return whether URLs parse the host as an IP address: it has a colon, or its last part is a number."""
    return (
        ":" in host or re.fullmatch(r"\d+|0[xX][0-9a-fA-F]*", host.rstrip(".").rpartition(".")[2]) is not None
    )
