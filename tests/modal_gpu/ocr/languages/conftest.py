"""A server of RapidOCR's models on loopback, in place of the registry's own address.

It serves real ONNX files: the wheel's recognition model under the names of others.
"""

import hashlib
import importlib.util
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from modal_gpu.ocr.languages import registry
from modal_gpu.ocr.languages.registry import Registry

PACKAGE = Path(importlib.util.find_spec("rapidocr").submodule_search_locations[0])
WHEEL_MODEL = PACKAGE / "models" / "PP-OCRv6_rec_small.onnx"


@dataclass
class ModelServer:
    """What the server answers: ``content`` by path, or ``status`` if it is set; and what was asked."""

    address: str
    content: dict[str, bytes] = field(default_factory=dict)
    status: int = 0
    #: Bytes that are sent of each file, less than its length says.
    cut: int | None = None
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def model_server() -> Iterator[ModelServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append(self.path)
            data = served.content.get(self.path)
            if served.status or data is None:
                self.send_error(served.status or 404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            with suppress(ConnectionError):  # a client that was shown a too long file leaves
                self.wfile.write(data[: served.cut])

        def log_message(self, *args: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served = ModelServer(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield served
        server.shutdown()
        thread.join()


@pytest.fixture
def served_registry(model_server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """RapidOCR's registry with the hash of the served files, and the server with all of its models."""
    content = yaml.safe_load((PACKAGE / "default_models.yaml").read_text())
    data = WHEEL_MODEL.read_bytes()
    for version in ("PP-OCRv4", "PP-OCRv5"):
        for entry in content["onnxruntime"][version]["rec"].values():
            entry["SHA256"] = hashlib.sha256(data).hexdigest()
            model_server.content[entry["model_dir"].removeprefix("https://www.modelscope.cn")] = data
    found = Registry(content)
    monkeypatch.setattr(registry, "installed_registry", lambda: found)
    return found
