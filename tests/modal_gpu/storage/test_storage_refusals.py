"""Final and transient errors of an S3 server: each is really sent over HTTP."""

import ssl
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from modal_gpu.error_table import TABLE, Meaning, look_up
from modal_gpu.errors import (
    ConfigurationError,
    ObjectNotFoundError,
    StorageAccessError,
    StorageError,
    StorageRequestError,
    StorageUrlError,
)
from modal_gpu.storage import ObjectStore, StorageSettings
from tests.modal_gpu.storage.test_storage_failures import ACTIONS
from tests.storage_fixtures import ACCESS_KEY, SECRET_KEY

#: Statuses with which S3 sends its codes; those of MinIO and of codes without an entry are given by hand.
STATUS = {
    "AccessDenied": 403, "InvalidAccessKeyId": 403, "SignatureDoesNotMatch": 403, "ExpiredToken": 400,
    "InvalidToken": 400, "TokenRefreshRequired": 400, "RequestTimeTooSkewed": 403, "RequestExpired": 400,
    "AllAccessDisabled": 403, "AccountProblem": 403, "NotSignedUp": 403, "NoSuchBucket": 404,
    "InvalidBucketName": 400, "PermanentRedirect": 301, "AuthorizationHeaderMalformed": 400,
    "InvalidRegion": 403, "IllegalLocationConstraintException": 400, "KMS.DisabledException": 400,
    "QuotaExceeded": 403, "ServiceQuotaExceeded": 402, "XMinioStorageFull": 507,
    "XMinioAdminBucketQuotaExceeded": 400, "NoSuchKey": 404, "NoSuchVersion": 404, "EntityTooLarge": 400,
    "InvalidObjectState": 403, "KeyTooLongError": 400, "InvalidArgument": 400, "InvalidRequest": 400,
    "PreconditionFailed": 412, "MalformedXML": 400, "MethodNotAllowed": 405, "NotImplemented": 501,
    "SlowDown": 503, "ServiceUnavailable": 503, "TooManyRequests": 429, "RequestLimitExceeded": 400,
    "Throttling": 400, "ThrottlingException": 400, "XMinioServerNotInitialized": 503, "RequestTimeout": 400,
    "InternalError": 500, "OperationAborted": 409, "ConditionalRequestConflict": 409, "BadDigest": 400,
    "IncompleteBody": 400, "XAmzContentSHA256Mismatch": 400, "NoSuchUpload": 404,
}  # fmt: skip
#: Rows that are not responses of a server: the client raises them.
CLIENT = {"no-credentials", "bad-certificate", "no-answer", "no-connection"}
CODES = [row for row in TABLE if row.service == "S3" and row.sign in STATUS]
BARE = [
    (row.sign.replace("xx", "18" if row.sign[0] == "4" else "99"), row)
    for row in TABLE
    if row.service == "S3" and row.sign[0].isdigit()
]


@dataclass
class Answers:
    """A server that sends the same response to every request, with a code in S3's XML if given."""

    status: int = 200
    code: str = ""
    body: str = ""
    #: Statuses of the next requests, before ``status`` applies to all.
    statuses: list[int] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def store(self) -> ObjectStore:
        """A store on it whose client does not repeat what may pass, to be quick."""
        settings = StorageSettings(
            "s3://footage",
            endpoint=self.url,
            region="us-east-1",
            access_key_id=ACCESS_KEY,
            secret_access_key=SECRET_KEY,
        )
        store = ObjectStore(settings)
        store._store = store._bulk = store._open(read_timeout=5, retry_timeout=0)
        return store

    def reply(self) -> bytes:
        if self.body or not self.code:
            return self.body.encode()
        return (
            f"<?xml version='1.0'?><Error><Code>{self.code}</Code><Message>of {ACCESS_KEY}</Message>"
            f"<AWSAccessKeyId>{ACCESS_KEY}</AWSAccessKeyId></Error>"
        ).encode()


@pytest.fixture(scope="module")
def server() -> Iterator[Answers]:
    answers = Answers()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            answers.asked.append(self.command)
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            reply = answers.reply()
            self.send_response(answers.statuses.pop(0) if answers.statuses else answers.status)
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply)

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = answer

        def log_message(self, *_: object) -> None: ...

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    answers.url = f"http://127.0.0.1:{http.server_port}"
    yield answers
    http.shutdown()
    http.server_close()


@pytest.fixture
def answers(server: Answers) -> Answers:
    server.status, server.code, server.body = 200, "", ""
    server.asked.clear()
    server.statuses.clear()
    return server


def refusal(store: ObjectStore, action: str = "get") -> StorageError:
    """The error, after checking that it is one line that names the bucket and no secret."""
    with pytest.raises(StorageError) as caught:
        ACTIONS[action](store)
    text = str(caught.value)
    assert "s3://footage" in text and "\n" not in text and len(text) < 300, text
    everything = "".join(traceback.format_exception(caught.value))
    assert ACCESS_KEY not in everything and SECRET_KEY not in everything
    return caught.value


def kind_of(meaning: Meaning) -> type[StorageError]:
    if meaning.passes:
        return StorageError
    if meaning is Meaning.ABSENT:
        return ObjectNotFoundError
    return StorageAccessError if meaning.is_operators else StorageRequestError


def test_each_row_of_the_table_is_answered_here():
    assert {row.sign for row in TABLE if row.service == "S3"} == {
        *STATUS, *CLIENT, *(row.sign for _, row in BARE)
    }  # fmt: skip


@pytest.mark.parametrize("row", CODES, ids=lambda row: row.sign)
def test_a_code_of_s3_is_what_the_table_says(answers: Answers, row):
    answers.status, answers.code = STATUS[row.sign], row.sign
    error = refusal(answers.store())
    expected = look_up("S3", "301") if answers.status == 301 else row
    assert type(error) is kind_of(expected.meaning)
    assert error.retryable is expected.meaning.passes
    assert isinstance(error, ConfigurationError) is expected.meaning.is_operators
    assert error.lies_with_service is (expected.meaning.passes or expected.meaning.is_operators)
    if expected.advice:
        assert expected.advice[1:] in str(error)


@pytest.mark.parametrize(("status", "row"), BARE, ids=[sign for sign, _ in BARE])
def test_a_status_without_a_code_is_what_the_table_says(answers: Answers, status: str, row):
    answers.status = int(status)
    error = refusal(answers.store())
    if row.sign == "307":
        row = look_up("S3", "301")
    assert type(error) is kind_of(row.meaning)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_final_at_the_first_request_of_every_action(
    answers: Answers, action: str, status: int
):
    """A wrong key does not become right by asking again, in no layer."""
    answers.status = status
    error = refusal(answers.store(), action)
    assert type(error) is StorageAccessError and not error.retryable
    assert "WASABI_ACCESS_KEY_READWRITE" in str(error)
    assert len(answers.asked) == 1


def test_a_refusal_within_a_deletion_of_many_is_final(answers: Answers):
    """S3 answers 200 and says in the body which objects it did not delete."""
    answers.body = (
        "<?xml version='1.0'?><DeleteResult><Error><Key>a/b</Key><Code>AccessDenied</Code>"
        f"<Message>{ACCESS_KEY} may not</Message></Error></DeleteResult>"
    )
    assert type(refusal(answers.store(), "delete")) is StorageAccessError


def test_keys_that_may_not_list_learn_that_an_object_is_absent(answers: Answers):
    """The bucket's existence is checked by listing, which these keys may not do."""
    answers.statuses, answers.code = [404, 403], "AccessDenied"
    assert answers.store().exists("a/b") is False
    assert answers.asked == ["HEAD", "GET"]


ADDRESSES = {
    "IP address": ("http://10.1.2.3:9000", "footage", False, "PATH_STYLE=true"),
    "IPv6 address": ("http://[::1]:9000", "footage", False, "PATH_STYLE=true"),
    "short IP address": ("http://127.1", "footage", False, "PATH_STYLE=true"),
    "hexadecimal address": ("http://0x7f.1", "footage", False, "PATH_STYLE=true"),
    "bucket with capitals in the host": ("https://s3.test", "My_Footage", False, "PATH_STYLE=true"),
    "bucket in another script": ("https://s3.test", "filmé", True, "not a bucket's name"),
    "port too large": ("http://minio:99999", "footage", True, "WASABI_ENDPOINT_URL"),
    "port that is none": ("http://minio:port", "footage", True, "WASABI_ENDPOINT_URL"),
    "space": ("http://my minio", "footage", True, "WASABI_ENDPOINT_URL"),
    "no host": ("http://", "footage", True, "WASABI_ENDPOINT_URL"),
    "words": ("not a url", "footage", True, "WASABI_ENDPOINT_URL"),
    "another scheme": ("ftp://s3.test", "footage", True, "WASABI_ENDPOINT_URL"),
    "another script": ("http://bücher.test", "footage", True, "WASABI_ENDPOINT_URL"),
    "query": ("http://s3.test?a=b", "footage", True, "WASABI_ENDPOINT_URL"),
    "password": ("http://u:hunter2@my minio", "footage", True, "WASABI_ENDPOINT_URL"),
}


@pytest.mark.parametrize(("endpoint", "bucket", "path_style", "says"), ADDRESSES.values(), ids=ADDRESSES)
def test_an_address_that_no_store_has_is_refused_on_opening(endpoint, bucket, path_style, says):
    """The library of the store would panic on it at the first request."""
    with pytest.raises(StorageUrlError) as caught:
        ObjectStore(StorageSettings(f"s3://{bucket}", endpoint=endpoint, path_style=path_style))
    assert says in str(caught.value) and "hunter2" not in str(caught.value)
    assert not caught.value.retryable and isinstance(caught.value, ConfigurationError)


def test_a_panic_of_the_librarys_rust_is_an_error_like_another(monkeypatch: pytest.MonkeyPatch):
    """It is no ``Exception``: nothing that guards a command, a check or a tick would catch it."""
    monkeypatch.setattr("modal_gpu.storage.checked_endpoint", _unchecked)
    store = ObjectStore(
        StorageSettings("s3://footage", endpoint="http://127.0.0.1:9", path_style=False, access_key_id="a",
                        secret_access_key="b")
    )  # fmt: skip
    for action in ("get", "put", "exists", "list", "delete", "upload", "put_many"):
        error = refusal(store, action)
        assert type(error) is StorageAccessError and "CAPTIONACC_STORAGE_PATH_STYLE" in str(error)


def _unchecked(endpoint, bucket, *, path_style):
    parts = urlsplit(endpoint)
    return parts if path_style else parts._replace(netloc=f"{bucket}.{parts.netloc}")


def test_a_store_without_keys_says_which_to_set(monkeypatch: pytest.MonkeyPatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    # The address that serves a machine's role with keys; nothing answers there.
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
    store = ObjectStore(StorageSettings("s3://footage", endpoint="http://127.0.0.1:9"))
    store._store = store._open(read_timeout=1, retry_timeout=0)
    error = refusal(store)
    assert type(error) is StorageAccessError and "Set WASABI_ACCESS_KEY_READWRITE" in str(error)


def test_a_certificate_that_is_not_trusted_is_final(tmp_path: Path):
    """This happens with a proxy in between: a retry does not make the connection secure."""
    with secured(tmp_path) as port:
        store = ObjectStore(
            StorageSettings(
                "s3://footage", endpoint=f"https://127.0.0.1:{port}", access_key_id="a", secret_access_key="b"
            )
        )
        store._store = store._open(read_timeout=5, retry_timeout=0)
        error = refusal(store)
    assert type(error) is StorageAccessError and "certificate" in str(error)


@contextmanager
def secured(folder: Path) -> Iterator[int]:
    """An HTTPS server with a certificate that it signed itself; its port."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    file.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + certificate.public_bytes(Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    http = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    http.socket = context.wrap_socket(http.socket, server_side=True)
    http.handle_error = lambda *_: None
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield http.server_port
    http.shutdown()
    http.server_close()
