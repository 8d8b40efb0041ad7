"""An S3 server over real HTTP for tests, as a pytest plugin."""

import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from modal_gpu.storage import ObjectStore, StorageSettings

ACCESS_KEY = "AKIATESTACCESSKEY"
SECRET_KEY = "wJalrXUtnFEMISECRETbPxRfiCYEXAMPLEKEY"


# Not through a proxy from the environment.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class S3Server:
    """A running moto server; every bucket is fresh, so tests do not see each other's objects."""

    endpoint: str

    def make_settings(self, *, prefix: str = "") -> StorageSettings:
        """Settings of a store on a new bucket."""
        bucket = f"test-{uuid.uuid4().hex[:12]}"
        request = urllib.request.Request(f"{self.endpoint}/{bucket}", method="PUT")
        with _direct.open(request, timeout=10) as reply:
            assert reply.status == 200
        return self.settings(f"s3://{bucket}/{prefix}" if prefix else f"s3://{bucket}")

    def settings(self, url: str) -> StorageSettings:
        """Settings of a store at ``url`` on this server, whether its bucket exists or not."""
        return StorageSettings(
            url,
            endpoint=self.endpoint,
            region="us-east-1",
            access_key_id=ACCESS_KEY,
            secret_access_key=SECRET_KEY,
        )


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """moto's S3 on a free port of this machine."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    yield S3Server(f"http://127.0.0.1:{port}")
    server.stop()


@pytest.fixture
def s3_store(s3_server: S3Server) -> ObjectStore:
    """A store on a new bucket of the S3 server."""
    return ObjectStore(s3_server.make_settings())
