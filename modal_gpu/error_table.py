"""Table of other services' errors: which are transient, and which are final until an operator acts.

It covers S3, the file system, PostgreSQL, PostgREST, Modal and gRPC (Google Vision). Storage, remote calls,
both transports of the catalogue and OCR use it, so that an error has the same meaning everywhere. The module
imports none of their clients: errors are identified by code, status or class name.

Sources: Amazon S3's *Error responses*, PostgreSQL's appendix *Error Codes*, PostgREST's *Errors*, Supabase's
*HTTP status codes*, the docstrings of ``modal.exception``, gRPC's *Status codes*, and replies of servers.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal, get_args

Service = Literal["S3", "file system", "PostgreSQL", "PostgREST", "Modal", "Modal start", "gRPC"]


class Meaning(Enum):
    """The meaning of an error for the caller."""

    UNREACHED = "not reached, busy, or rolled back: nothing was done"
    UNHEARD = "the answer was lost: the request may have been executed"
    SLOW = "exceeded a time limit: nothing was done"
    LOST = "the call or its result was lost by the service"
    SETTING = "a key, permission, name or address is wrong"
    FULL = "out of space, or a limit of the account is reached"
    ABSENT = "the requested item does not exist"
    REFUSED = "the service rejects this request"
    TIME_OUT = "the work exceeds its time limit"
    STOPPED = "the call was stopped"
    FAULT = "a bug in a program"

    @property
    def passes(self) -> bool:
        """True if the error is transient: the same call may succeed later without anybody acting."""
        return self in (Meaning.UNREACHED, Meaning.UNHEARD, Meaning.SLOW, Meaning.LOST)

    @property
    def is_operators(self) -> bool:
        """True if the operator has to act; the request is not the cause."""
        return self in (Meaning.SETTING, Meaning.FULL)


UNREACHED, UNHEARD, SLOW, LOST = Meaning.UNREACHED, Meaning.UNHEARD, Meaning.SLOW, Meaning.LOST
SETTING, FULL, ABSENT, REFUSED = Meaning.SETTING, Meaning.FULL, Meaning.ABSENT, Meaning.REFUSED
TIME_OUT, STOPPED, FAULT = Meaning.TIME_OUT, Meaning.STOPPED, Meaning.FAULT


@dataclass(frozen=True)
class Row:
    """An error of a service. ``sign`` is its code, status or class name, or a name of this project."""

    service: Service
    sign: str
    meaning: Meaning
    #: What to do, as a clause without a full stop; empty if waiting is enough, or if it depends on the call.
    advice: str = ""
    #: Regular expressions for its text in lower case, for errors without a code.
    words: tuple[str, ...] = ()


#: The notation of the rows below: the meaning, the signs that share it, and the advice.
_Group = tuple[Meaning, str, str]

_KEYS = "check WASABI_ACCESS_KEY_READWRITE and WASABI_SECRET_KEY_READWRITE (on Modal: the secret wasabi)"
_RIGHTS = f"{_KEYS}, and the key's permissions in this bucket"
_CLOCK = "correct this machine's clock, which is off by 15 minutes or more"
_BUCKET = "create the bucket, or correct WASABI_BUCKET (or CAPTIONACC_STORAGE_URL)"
_REGION = "set WASABI_REGION to the bucket's region"
_ENDPOINT = "check WASABI_ENDPOINT_URL: it does not answer like an S3 server"
_ACCOUNT = "the account is locked, unpaid or not signed up: ask the provider"
_S3: list[_Group] = [
    (SETTING, "AccessDenied 403", _RIGHTS),
    (SETTING, "InvalidAccessKeyId SignatureDoesNotMatch 401", _KEYS),
    # The client renews an instance role's keys before they expire, so these were set explicitly.
    (SETTING, "ExpiredToken InvalidToken TokenRefreshRequired", "renew AWS_SESSION_TOKEN and its keys"),
    (SETTING, "RequestTimeTooSkewed RequestExpired", _CLOCK),
    (SETTING, "AllAccessDisabled AccountProblem NotSignedUp 402", _ACCOUNT),
    (SETTING, "NoSuchBucket InvalidBucketName", _BUCKET),
    (SETTING, "PermanentRedirect AuthorizationHeaderMalformed InvalidRegion 301 307", _REGION),
    (SETTING, "IllegalLocationConstraintException", _REGION),
    (SETTING, "KMS.DisabledException", "enable the bucket's encryption key"),
    (SETTING, "no-credentials", "set WASABI_ACCESS_KEY_READWRITE and WASABI_SECRET_KEY_READWRITE"),
    (SETTING, "bad-certificate", "check WASABI_ENDPOINT_URL: its certificate is not valid for it"),
    (FULL, "QuotaExceeded ServiceQuotaExceeded XMinioStorageFull XMinioAdminBucketQuotaExceeded 507",
     "make room in the store, or raise its quota"),
    (ABSENT, "NoSuchKey NoSuchVersion 404 410", ""),
    (REFUSED, "EntityTooLarge", "the object exceeds the store's size limit"),
    (REFUSED, "InvalidObjectState", "restore the object from the archive first"),
    (REFUSED, "KeyTooLongError InvalidArgument InvalidRequest PreconditionFailed 412 416", ""),
    (REFUSED, "400", "check WASABI_REGION, the keys and WASABI_ENDPOINT_URL"),
    (REFUSED, "MalformedXML MethodNotAllowed NotImplemented 405 501 4xx", _ENDPOINT),
    (UNREACHED, "SlowDown ServiceUnavailable TooManyRequests RequestLimitExceeded 429 503", ""),
    (UNREACHED, "Throttling ThrottlingException XMinioServerNotInitialized", ""),
    (UNHEARD, "no-answer", "check WASABI_ENDPOINT_URL and the network"),
    (UNREACHED, "no-connection", "check WASABI_ENDPOINT_URL and the network"),
    (UNHEARD, "RequestTimeout InternalError OperationAborted ConditionalRequestConflict 408 409 5xx", ""),
    (UNHEARD, "BadDigest IncompleteBody XAmzContentSHA256Mismatch", ""),
    # The parts were removed in the meantime; a repeated upload starts over.
    (UNHEARD, "NoSuchUpload", ""),
]  # fmt: skip
_S3_WORDS = {
    # Without keys the client requests those of the machine's role.
    "no-credentials": (r"169\.254\.\d+\.\d+", "/latest/(api/token|meta-data)", "credential"),
    "bad-certificate": ("certificate", "unknownissuer"),
    "301": ("received redirect without location",),
    "no-answer": ("kind: timeout", "operation timed out"),
    "no-connection": ("http error", "error sending request", "connection"),
}

_FILES: list[_Group] = [
    (FULL, "ENOSPC EFBIG", "make room on the disk"),
    (FULL, "EDQUOT", "raise the disk quota"),
    (SETTING, "EACCES EPERM", "check the folder's owner and permissions"),
    (SETTING, "EROFS", "the file system is read-only: choose another folder"),
    (ABSENT, "ENOENT", ""),
    (REFUSED, "ENOTDIR EISDIR EEXIST ENOTEMPTY ENAMETOOLONG EILSEQ EINVAL ELOOP ENXIO", ""),
    # Lack of memory or file descriptors, or errors of a network file system.
    (UNREACHED, "EAGAIN EBUSY EINTR EMFILE ENFILE ENOMEM ETXTBSY", ""),
    (UNREACHED, "ENOTCONN EHOSTDOWN EHOSTUNREACH ENETUNREACH ECONNREFUSED", ""),
    (UNHEARD, "EIO", "check the disk"),
    (UNHEARD, "ESTALE ETIMEDOUT EPIPE ECONNRESET", ""),
]

_LOGIN = "correct the user and password in CAPTIONACC_DATABASE_URL"
_DATABASE = "correct the database's name in CAPTIONACC_DATABASE_URL, or create the database"
_MIGRATE = "run `captionacc migrate`, and check CAPTIONACC_SCHEMA"
#: A sign of two characters is a class of SQLSTATEs, for those without their own row.
_POSTGRESQL: list[_Group] = [
    (SETTING, "28P01", _LOGIN),
    (SETTING, "28000 28", f"{_LOGIN}; pg_hba.conf may also reject this address"),
    (SETTING, "3D000 57P04", _DATABASE),
    (SETTING, "42P01 42883 42703 42704 3F000", _MIGRATE),
    (SETTING, "42501", "grant the user of CAPTIONACC_DATABASE_URL the privilege, or connect as the owner"),
    (SETTING, "XX001 XX002", "the database is damaged: restore a backup, or reindex it"),
    (SETTING, "bad-certificate", "correct sslmode and sslrootcert in CAPTIONACC_DATABASE_URL"),
    (SETTING, "unknown-tenant", "copy user and host from the project's connection string (session mode)"),
    (FULL, "53100", "make room on the database's disk"),
    # Supabase makes a project read-only when its disk is full.
    (FULL, "25006", "make room on the database's disk, or connect to the primary: this one is read-only"),
    (REFUSED, "0A 10 22 23 42 54 P0", ""),
    (UNREACHED, "40 55006 55P03 57P03 57P05 08001 08004 53", ""),
    (UNREACHED, "53300", "run fewer processes, or raise the server's max_connections"),
    (UNREACHED, "no-connection", "check that PostgreSQL runs and that CAPTIONACC_DATABASE_URL is correct"),
    (UNHEARD, "08 40003 57P01 57P02", ""),
    (UNHEARD, "58", "check the database's disk"),
    (SLOW, "57", ""),
    (FAULT, "01 02 03 09 0B 0F 0L 0P 0Z 20 21 24 25 26 27 2B 2D 2F 34 38 39 3B 44 55 72 F0 HV XX", ""),
]  # fmt: skip
#: Messages of a server or of libpq while connecting.
_POSTGRESQL_WORDS = {
    "28P01": ("password authentication failed", "no password supplied"),
    "28000": ("no pg_hba.conf entry", "authentication failed", "not permitted to log", 'role ".*" does not'),
    "3D000": ('database ".*" does not exist',),
    "53300": ("too many (clients|connections)", "connection slots", "max clients reached"),
    "57P03": ("the database system is", "not (currently )?accepting connections"),
    "bad-certificate": ("certificate", "does not support ssl", "ssl was required", "sslmode"),
    "unknown-tenant": ("tenant or user not found", "no such user"),
}

_KEY = "set SUPABASE_SERVICE_ROLE_KEY to that project's service-role key"
_PROJECT = "check SUPABASE_URL and the project's state"
#: ``PGRST`` and a digit are a group of codes. SQLSTATEs are in PostgreSQL's rows.
_POSTGREST: list[_Group] = [
    (SETTING, "PGRST106", "add it under Settings, API, Exposed schemas, or set CAPTIONACC_SCHEMA"),
    (SETTING, "PGRST202 PGRST204 PGRST205", "run `captionacc migrate`"),
    (SETTING, "PGRST3 401 403", _KEY),
    (SETTING, "301 302 307 308 404 405 406 525 526", "check SUPABASE_URL"),
    (SETTING, "540", "the project is paused: restore it in Supabase's dashboard"),
    (FULL, "402", "the organization exceeds its plan's limits: see Supabase's dashboard"),
    (ABSENT, "PGRST116", ""),
    (REFUSED, "PGRST1 PGRST2 400 409 413 414 416 422 4xx", ""),
    (UNREACHED, "PGRST0 408 425 429 503 521 523 530", ""),
    (UNREACHED, "no-connection", _PROJECT),
    (UNHEARD, "PGRSTX 500 502 504 520 522 524 544 5xx", ""),
    (UNHEARD, "no-answer", _PROJECT),
]
_POSTGREST_WORDS = {"PGRST3": ("invalid api key", "no api key found")}

_TOKEN = "check MODAL_TOKEN_ID and MODAL_TOKEN_SECRET, or run `modal token new`"
#: Signs are class names in ``modal.exception`` and ``grpclib``; a class without a row uses its nearest base.
_MODAL: list[_Group] = [
    (SETTING, "AuthError PermissionDeniedError WorkspaceManagementError", _TOKEN),
    (SETTING, "VersionError", "install the version of modal that captionacc-dagster requires"),
    (FULL, "spend-limit", "raise the workspace's spend limit in Modal's dashboard"),
    (TIME_OUT, "FunctionTimeoutError", "raise the function's time-out, or reduce the work of a call"),
    (LOST, "NotFoundError InternalFailure DataLossError OutputExpiredError", ""),
    (STOPPED, "RemoteError InputCancellation SandboxTerminatedError", "look at the call's logs"),
    (UNREACHED, "ConnectionError ResourceExhaustedError ClientClosed", ""),
    (UNREACHED, "MountUploadTimeoutError VolumeUploadTimeoutError", ""),
    (UNHEARD, "ServiceError InternalError GRPCError StreamTerminatedError", ""),
    # A function's own OSError arrives as data, so this one is from a local socket.
    (UNHEARD, "OSError", ""),
    (
        FAULT,
        "Error TimeoutError AlreadyExistsError ConflictError InvalidError UnimplementedError ExecutionError",
        "",
    ),
    (FAULT, "DeserializationError SerializationError RequestSizeError UserCodeException", ""),
    (FAULT, "ImageBuildError ModuleNotMountable LogsFetchError SnapshotCreationError", ""),
    (FAULT, "ExecTimeoutError SandboxTimeoutError SandboxFilesystemError InteractiveTimeoutError", ""),
    (FAULT, "DeprecationError ServerWarning AsyncUsageWarning InternalAPIWarning", ""),
]
_MODAL_WORDS = {"spend-limit": ("spend(ing)? limit", "billing cycle", "budget")}
#: While a call is being started, NotFoundError means the function.
_MODAL_START: list[_Group] = [(SETTING, "NotFoundError", "deploy the app: modal deploy -m modal_gpu.app")]

VISION_ADVICE = (
    "check that the key is valid, and that the Cloud Vision API and billing are enabled in its project"
)
_GRPC: list[_Group] = [
    (SETTING, "UNAUTHENTICATED PERMISSION_DENIED 401 403", VISION_ADVICE),
    # The quota is per minute.
    (UNREACHED, "RESOURCE_EXHAUSTED UNAVAILABLE ABORTED 429 503", ""),
    (UNHEARD, "DEADLINE_EXCEEDED INTERNAL UNKNOWN 408 5xx", ""),
    (STOPPED, "CANCELLED 499", ""),
    (REFUSED, "INVALID_ARGUMENT NOT_FOUND ALREADY_EXISTS FAILED_PRECONDITION OUT_OF_RANGE", ""),
    (REFUSED, "UNIMPLEMENTED DATA_LOSS 4xx", ""),
]
_GRPC_WORDS = {
    # gRPC's plugin reports credentials that Google's token server refuses as UNAVAILABLE.
    "UNAUTHENTICATED": ("invalid_grant", "invalid_client", "account not found", "invalid jwt"),
    "PERMISSION_DENIED": ("billing to be enabled", "has not been used in project"),
}


def _rows(
    service: Service, groups: Iterable[_Group], words: Mapping[str, tuple[str, ...]] | None = None
) -> list[Row]:
    words = words or {}
    return [
        Row(service, sign, meaning, advice, words.get(sign, ()))
        for meaning, signs, advice in groups
        for sign in signs.split()
    ]


TABLE: tuple[Row, ...] = (
    *_rows("S3", _S3, _S3_WORDS),
    *_rows("file system", _FILES),
    *_rows("PostgreSQL", _POSTGRESQL, _POSTGRESQL_WORDS),
    *_rows("PostgREST", _POSTGREST, _POSTGREST_WORDS),
    *_rows("Modal", _MODAL, _MODAL_WORDS),
    *_rows("Modal start", _MODAL_START),
    *_rows("gRPC", _GRPC, _GRPC_WORDS),
)
_BY_SIGN = {(row.service, row.sign): row for row in TABLE}


def look_up(service: Service, *signs: str, text: str = "") -> Row | None:
    """Return the row of an error, or ``None`` for an unknown one.

    ``signs`` are in order of decreasing specificity: a server's code, then a status. A SQLSTATE is also
    found by its class, a ``PGRST`` code by its group, an HTTP status by ``4xx`` or ``5xx``. The error's
    ``text`` is used if no sign is known, and may turn a transient error into a final one: a rate limit
    into a spend limit.
    """
    known = next((row for sign in signs if sign for row in _of_sign(service, sign)), None)
    if not text or (known is not None and not known.meaning.passes):
        return known
    by_text = _of_text(service, text.lower())
    return by_text if by_text is not None and (known is None or not by_text.meaning.passes) else known


def _of_sign(service: Service, sign: str) -> Iterator[Row]:
    names = [sign]
    if service == "PostgreSQL" and len(sign) == 5:
        names.append(sign[:2])
    elif sign.startswith("PGRST"):
        names.append(sign[:6])
    elif sign.isdigit() and len(sign) == 3:
        names.append(f"{sign[0]}xx")
    yield from (row for name in names if (row := _BY_SIGN.get((service, name))) is not None)


def _of_text(service: Service, text: str) -> Row | None:
    rows = (row for row in TABLE if row.service == service)
    return next((row for row in rows if any(re.search(words, text) for words in row.words)), None)


_PAGE = """\
# Errors of other services

An error is transient, or it is final until a person acts. Transient errors are retried: within the call if
that is safe, then by the asset, up to three attempts in total ([retries](automation.md#retries)). A final
error ends the run at the first attempt; its one line, in the row and in the run, says what to do. If a
service or a setting is the cause, sensors and upkeep wait and do not fail the video.
[Own errors](own-errors.md) has the classes that the platform raises for these errors.

`python -m modal_gpu.error_table` prints this page from the table that storage, remote calls, both transports
of the catalogue and OCR use. Errors are codes, statuses and class names; names in lower case, such as
`no-connection`, are the platform's own. Two characters are a class of SQLSTATEs; `4xx` and `5xx` are the
statuses without their own row.
"""
_HEADINGS = {
    "file system": "File system",
    "PostgREST": "PostgREST (Supabase)",
    "Modal start": "Modal, at the start of a call",
    "gRPC": "gRPC (Google Vision)",
}


def page() -> str:
    """Return the table as a Markdown page."""
    lines = [_PAGE]
    for service in get_args(Service):
        heading = _HEADINGS.get(service, service)
        lines += [f"## {heading}", "", "| error | kind | meaning | what to do |", "| --- " * 4 + "|"]
        groups: dict[tuple[Meaning, str], list[str]] = {}
        for row in TABLE:
            if row.service == service:
                groups.setdefault((row.meaning, row.advice), []).append(f"`{row.sign}`")
        for (meaning, advice), signs in groups.items():
            how = "transient" if meaning.passes else "**final**"
            lines.append(f"| {', '.join(signs)} | {how} | {meaning.value} | {advice or '–'} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(page())
