"""A server that checks presigned URLs as S3 does, in front of moto's, which takes any signature.

It follows Amazon's description of Signature Version 4 with query parameters, without botocore's code:
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
"""

import hashlib
import hmac
import http.client
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, quote, urlsplit


def refusal(method: str, target: str, headers: Mapping[str, str], secret: str) -> str | None:
    """The code with which S3 refuses a presigned request; ``None`` if it takes it."""
    parts = urlsplit(target)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    given = query.pop("X-Amz-Signature", "")
    _, day, region, service, _ = query["X-Amz-Credential"].split("/")
    signed = query["X-Amz-SignedHeaders"].split(";")
    lower = {name.lower(): " ".join(value.split()) for name, value in headers.items()}
    canonical = "\n".join(
        [
            method,
            parts.path,
            "&".join(f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in sorted(query.items())),
            *(f"{name}:{lower.get(name, '')}" for name in signed),
            "",
            ";".join(signed),
            "UNSIGNED-PAYLOAD",
        ]
    )
    scope = f"{day}/{region}/{service}/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    text = f"AWS4-HMAC-SHA256\n{query['X-Amz-Date']}\n{scope}\n{digest}"
    if not hmac.compare_digest(hmac.new(key, text.encode(), "sha256").hexdigest(), given):
        return "SignatureDoesNotMatch"
    begun = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    expired = datetime.now(UTC) > begun + timedelta(seconds=int(query["X-Amz-Expires"]))
    return "AccessDenied" if expired else None


@contextmanager
def checking_server(endpoint: str, secret: str) -> Iterator[str]:
    """Serve what ``endpoint`` does to requests with the right signature; yield the address."""
    behind = urlsplit(endpoint)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            presigned = "X-Amz-Signature=" in self.path
            code = refusal("PUT", self.path, self.headers, secret) if presigned else None
            if code is None:
                self._forward(body)
            else:
                self._answer(403, {}, f"<Error><Code>{code}</Code></Error>".encode())

        def do_GET(self) -> None:
            self._forward(None)

        do_HEAD = do_GET

        def _forward(self, body: bytes | None) -> None:
            connection = http.client.HTTPConnection(behind.hostname or "", behind.port, timeout=10)
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            self._answer(answer.status, dict(answer.getheaders()), answer.read())
            connection.close()

        def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
            self.send_response_only(status)
            length = {"content-length": str(len(body))}
            for name, value in (length | {n.lower(): v for n, v in headers.items()}).items():
                if name not in ("transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
