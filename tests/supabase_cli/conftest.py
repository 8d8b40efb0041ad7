"""The Supabase CLI on a project folder, and the test's database over TCP, which is all that it speaks."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from captionacc_dagster.resources.catalog.embedded_postgres import EmbeddedPostgres
from schema_migrations.schema_files import SUPABASE
from tests.left_out import SUPABASE_CLI

_SECONDS = 120


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@pytest.fixture
def postgres_port(postgres_server: EmbeddedPostgres) -> Iterator[int]:
    """A port of this machine behind which the session's server answers, on its socket as before."""
    (path,) = postgres_server.socket_directory.glob(".s.PGSQL.*[0-9]")
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(str(path))
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=_copy, args=pair, daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    # Closing alone does not wake a thread that accepts.
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(10)


@dataclass(frozen=True)
class Project:
    """A web app's project folder, and the database that its migrations go to."""

    folder: Path
    url: str

    @property
    def migrations(self) -> Path:
        return self.folder / "supabase" / "migrations"

    def supabase(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The real CLI, without the user's own settings and without telemetry."""
        home = self.folder.parent / "home"
        home.mkdir(exist_ok=True)
        return subprocess.run(
            [SUPABASE_CLI, *arguments, "--db-url", self.url, "--workdir", self.folder, "--yes"],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "HOME": str(home), "DO_NOT_TRACK": "1",
                 "SUPABASE_TELEMETRY_DISABLED": "1"},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS,
        )  # fmt: skip

    def push(self, *options: str) -> list[str]:
        """Run ``supabase db push``, and return the files that it applied."""
        done = self.supabase("db", "push", *options)
        assert done.returncode == 0, done.stdout + done.stderr
        return re.findall(r"Applying migration (\S+\.sql)", done.stdout + done.stderr)

    def listed(self) -> list[tuple[str, str]]:
        """``supabase migration list``: each version in the folder and in the database."""
        done = self.supabase("migration", "list")
        assert done.returncode == 0, done.stdout + done.stderr
        rows = re.findall(r"^\s*([`\d ]+)\|([`\d ]+)\|", done.stdout, re.MULTILINE)
        return [(local.strip(" `"), remote.strip(" `")) for local, remote in rows]


@pytest.fixture
def project(tmp_path: Path, empty_dsn: str, postgres_port: int) -> Project:
    """A folder with the checkout's settings and no migrations, and an empty database."""
    migrations = tmp_path / "project" / "supabase" / "migrations"
    migrations.mkdir(parents=True)
    shutil.copy(SUPABASE / "config.toml", migrations.parent)
    parts = urlsplit(empty_dsn)
    # The server knows its user by the socket's other end; the CLI wants a password to send.
    url = f"postgresql://{parts.username}:unused@127.0.0.1:{postgres_port}{parts.path}?sslmode=disable"
    return Project(tmp_path / "project", url)
