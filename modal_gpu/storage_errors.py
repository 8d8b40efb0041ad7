"""What an object store's library raises, as errors of this project; and addresses that no store has.

Errors name the key and the store in one line, and what to do. They never hold credentials, nor the
server's reply: S3 servers repeat the access key in theirs.
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

#: Codes in S3's replies, and in those to a request that deletes many objects.
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


def is_storage_trouble(error: BaseException) -> bool:
    """Whether :func:`translated` is for it. A panic of the library's Rust is no ``Exception``."""
    return isinstance(error, BaseError | OSError | ValueError | NotImplementedError) or _is_panic(error)


def is_refusal(error: BaseException) -> bool:
    """Whether the store said that these keys may not do this."""
    _, row = _said(error)
    return row is not None and row.sign in ("AccessDenied", "403")


def _is_panic(error: BaseException) -> bool:
    return type(error).__name__ == "PanicException"


def translated(error: BaseException, what: str, *, is_folder: bool) -> CaptionAccError:
    """The error to raise instead. ``what``: what could not be done, with the key and the store's name."""
    if isinstance(error, CaptionAccError):
        return error
    if isinstance(error, InvalidPathError):
        return InvalidKeyError(f"{what}: the store does not accept this key")
    if _is_panic(error):
        return StorageAccessError(
            f"{what}: its client cannot work with these settings. Check WASABI_ENDPOINT_URL, the bucket's "
            "name, the keys and CAPTIONACC_STORAGE_PATH_STYLE."
        )
    number = _errno(error) if is_folder or isinstance(error, OSError) else None
    if number is not None:
        row = look_up("file system", errno.errorcode.get(number, ""))
        if row is not None and row.meaning is Meaning.FULL:
            return DiskFullError(f"the disk is full: {what}; {ADVICE}")
        reason = os.strerror(number)
    else:
        code, row = _said(error)
        reason = "the file system refused it" if is_folder else _reason(error, code, row)
    kind = _kind(row.meaning if row else Meaning.UNHEARD)
    if kind is ObjectNotFoundError:
        reason = "there is no such object"
    advice = f". {row.advice[0].upper()}{row.advice[1:]}." if row and row.advice else ""
    return kind(f"{what}: {reason}{advice}")


def _errno(error: BaseException) -> int | None:
    """The number of an error of the operating system, which the library tells in its text only."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found.group(1)) if found else None


def _said(error: BaseException) -> tuple[str, Row | None]:
    """The server's code or status, and the row. Only known facts are taken from the text."""
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
    """Where requests for the bucket go, or an empty address for AWS's own; without a scheme it is https.

    Raises :class:`StorageUrlError` for an address that no server has: the library would panic on it.
    """
    if not _BUCKET.fullmatch(bucket):
        raise StorageUrlError(
            f"{bucket[:80]!r} is no bucket's name, which has letters, digits, dots and hyphens: correct "
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
        # Not repeated, since it may hold a password.
        raise StorageUrlError(
            "WASABI_ENDPOINT_URL is no address of a server: it should look like https://s3.example.com or "
            "http://127.0.0.1:9000"
        )
    if path_style or parts.netloc.rpartition("@")[2].startswith(f"{bucket}."):
        return parts
    if not _HOSTED_BUCKET.fullmatch(bucket) or _is_address(host):
        wrong = f"the endpoint {host} is an IP address" if _is_address(host) else f"it is named {bucket!r}"
        raise StorageUrlError(
            f"the bucket's name cannot stand in the host's name, since {wrong}: set "
            "CAPTIONACC_STORAGE_PATH_STYLE=true"
        )
    # The library takes a virtual-hosted endpoint with the bucket already in it.
    user, at, address = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user}{at}{bucket}.{address}")


def _is_address(host: str) -> bool:
    """Whether an URL takes the host for an IP address: a colon, or a last part that is a number."""
    return (
        ":" in host or re.fullmatch(r"\d+|0[xX][0-9a-fA-F]*", host.rstrip(".").rpartition(".")[2]) is not None
    )
