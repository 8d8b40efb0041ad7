"""The user that the embedded PostgreSQL runs as, and the folders that are this user's alone.

PostgreSQL refuses to run as root. As root, the server runs as the owner of the home folder, or, where that
is root too, as the system user ``captionacc``.
"""

import contextlib
import fcntl
import os
import pwd
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

from captionacc_dagster.resources.catalog.errors import EmbeddedPostgresError

#: The server's system user (as root), and the owner of its databases.
OWNER = "captionacc"


def server_user(home: Path, root: Path) -> pwd.struct_passwd:
    """Return the user that the server of a home folder runs as; ``root`` is the server's own folder.

    Raises :class:`EmbeddedPostgresError` for a user id without an entry in ``/etc/passwd``.
    """
    uid = os.geteuid()
    if uid == 0:
        owner = (root if root.exists() else home).stat().st_uid
        if owner == 0:
            return service_user()
        uid = owner
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        raise EmbeddedPostgresError(
            f"user id {uid} has no entry in /etc/passwd, which PostgreSQL needs: add one, or run as "
            "another user"
        ) from None


def service_user() -> pwd.struct_passwd:
    """Return the system user of servers that root starts; create it if it does not exist."""
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(OWNER)
    if useradd := shutil.which("useradd"):
        # Two at a time would give the name two ids, and one of them would be lost.
        with Path("/etc/passwd").open() as users:
            fcntl.flock(users, fcntl.LOCK_EX)
            with contextlib.suppress(KeyError):
                return pwd.getpwnam(OWNER)
            subprocess.run(
                [useradd, "--system", "--no-create-home", "--home-dir", "/nonexistent",
                 "--shell", shutil.which("nologin") or "/bin/false", OWNER],
                capture_output=True, check=False,
            )  # fmt: skip
    for name in (OWNER, "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise EmbeddedPostgresError(
        "PostgreSQL does not run as root, and no system user could be made; run as a user"
    )


def user_name(uid: int) -> str:
    """Return a user's name, or its id in words."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user id {uid}"


def make_private(folder: Path, user: pwd.struct_passwd) -> None:
    """Make a folder that is private to the user from the moment it has its name; an existing one stays."""
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))  # mode 0700
    try:
        if os.geteuid() == 0:
            os.chown(fresh, user.pw_uid, user.pw_gid)
        # Fails if a folder with contents has that name by now; an empty one is replaced.
        fresh.rename(folder)
    except OSError:
        fresh.rmdir()
        if not os.path.lexists(folder):
            raise


def let_pass(user: pwd.struct_passwd, path: Path) -> None:
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
