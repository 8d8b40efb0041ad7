"""``up`` is ready when the web server that it started answers, and only then."""

import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from captionacc_dagster.cli.up import _wait_until_up
from captionacc_dagster.platform.ports import PortError
from captionacc_dagster.platform.role_lock import ServiceError
from captionacc_dagster.platform.services import WEB_SERVER, Services
from captionacc_dagster.settings import Settings

_SERVER = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_): pass
HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""


class Answer(BaseHTTPRequestHandler):
    """Answers 200 to everything, as another Dagster does to ``/server_info``."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def other() -> Iterator[int]:
    """Run another server, and yield its port."""
    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv("CAPTIONACC_HOME", str(tmp_path))
    services = Services(Settings(_env_file=None))
    yield services
    services.stop()


def wait(services: Services, port: int, program: str, timeout: float) -> None:
    """Wait for a web server that is this program."""
    services.settings.port = port
    services.processes[WEB_SERVER] = subprocess.Popen([sys.executable, "-c", program, str(port)])
    _wait_until_up(services, f"http://127.0.0.1:{port}", lambda: None, timeout)


def free_port() -> int:
    server = HTTPServer(("127.0.0.1", 0), Answer)
    server.server_close()
    return server.server_port


def test_the_servers_own_answer_is_enough(services: Services):
    wait(services, free_port(), _SERVER, timeout=30)


def test_the_answer_of_another_server_does_not_count(services: Services, other: int):
    with pytest.raises(ServiceError, match="did not answer within 1 s"):
        wait(services, other, "import time; time.sleep(60)", timeout=1)


def test_a_port_that_was_taken_in_the_meantime_is_named(services: Services, other: int):
    with pytest.raises(PortError, match=rf"port {other} \(CAPTIONACC_PORT\) is taken by `"):
        wait(services, other, "raise SystemExit(1)", timeout=30)


def test_a_server_that_ends_for_another_reason_is_reported_with_its_last_output(services: Services):
    services.log_folder.mkdir()
    (services.log_folder / f"{WEB_SERVER}.log").write_text("It begins.\nThe workspace is broken.\n")
    with pytest.raises(ServiceError, match=r"dagster-webserver ended \(The workspace is broken\.\); see "):
        wait(services, free_port(), "raise SystemExit(1)", timeout=30)


def test_a_failure_of_the_daemon_in_the_meantime_is_noticed(services: Services):
    def check() -> None:
        raise ServiceError("dagster-daemon ended")

    services.processes[WEB_SERVER] = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    with pytest.raises(ServiceError, match="dagster-daemon ended"):
        _wait_until_up(services, "http://127.0.0.1:1", check)
