"""Contract: the server belongs to its folder, outlives its users, survives being killed, and is private."""

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import psycopg
import pytest

from captionacc_dagster.platform.homes import make_home
from captionacc_dagster.resources.catalog import embedded_user
from captionacc_dagster.resources.catalog.embedded_postgres import EmbeddedPostgres
from captionacc_dagster.resources.catalog.errors import EmbeddedPostgresError
from tests.full_catalog import connected

REPOSITORY = Path(__file__).resolve().parents[3]
START = (
    "import sys; from captionacc_dagster.resources.catalog.embedded_postgres import EmbeddedPostgres;"
    "server = EmbeddedPostgres(sys.argv[1]); server.ensure_running(); print(server.status().pid, flush=True)"
)


@pytest.fixture
def new_home() -> Iterator[Path]:
    """A folder of this test's own."""
    folder = Path(tempfile.mkdtemp(prefix="captionacc-test-"))
    yield folder
    EmbeddedPostgres(folder).stop()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A folder that the tests share; its server is in whatever state the test before left it."""
    folder = Path(tempfile.mkdtemp(prefix="captionacc-test-"))
    # Made without fsync, to be quick; each test starts it with the settings it is about.
    maker = EmbeddedPostgres(folder, settings={"fsync": "off"})
    maker.ensure_running()
    maker.stop()
    yield folder
    EmbeddedPostgres(folder).stop()
    shutil.rmtree(folder)


def start(home: Path, after: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", START + after, str(home)],
        cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def scalar(dsn: str, query: str):
    with psycopg.connect(dsn) as connection:
        return connection.execute(query).fetchone()[0]


def test_a_folder_has_its_name_only_when_it_is_the_users(tmp_path, monkeypatch):
    """For root, ownership is changed first: otherwise another process could find the wrong owner."""
    folder, user, seen = tmp_path / "postgres", pwd.getpwuid(os.geteuid()), []
    chown = os.chown
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", lambda *given: (seen.append(folder.exists()), chown(*given)))
    embedded_user.make_private(folder, user)
    assert seen == [False] and folder.stat().st_mode & 0o777 == 0o700

    (folder / "lock").touch()
    embedded_user.make_private(folder, user)
    assert (folder / "lock").exists(), "another process was quicker"
    assert list(tmp_path.iterdir()) == [folder]


def test_the_user_of_roots_servers_is_created_once(monkeypatch):
    """Two useradds at a time each wrote the name, with an id of its own, and one was lost."""
    made, second, start, looked = {}, threading.Event(), threading.Barrier(2), set()

    def useradd(command: list[str], **_) -> None:
        if made.setdefault("by", threading.get_ident()) != threading.get_ident():
            second.set()
        second.wait(0.3)
        made["user"] = (command[-1], threading.get_ident())

    def user(name: str) -> tuple[str, int]:
        if (me := threading.get_ident()) not in looked:
            looked.add(me)
            start.wait(5)
            raise KeyError(name)
        if "user" not in made:
            raise KeyError(name)
        return made["user"]

    monkeypatch.setattr(embedded_user.shutil, "which", lambda name: f"/usr/sbin/{name}")
    monkeypatch.setattr(embedded_user.subprocess, "run", useradd)
    monkeypatch.setattr(embedded_user.pwd, "getpwnam", user)
    with ThreadPoolExecutor(2) as processes:
        both = [processes.submit(embedded_user.service_user) for _ in range(2)]
        assert both[0].result(5) == both[1].result(5) == made["user"]
    assert not second.is_set()


def test_two_processes_that_start_at_once_share_one_server_which_outlives_them(new_home):
    home = new_home
    users = [start(home), start(home)]
    pids = {user.communicate(timeout=60)[0].strip() for user in users}
    assert [user.returncode for user in users] == [0, 0]
    assert len(pids) == 1
    status = EmbeddedPostgres(home).status()
    assert status.running
    assert str(status.pid) in pids
    assert status.version.startswith("18.")


def test_it_is_durable_private_and_reachable_by_its_socket_only(home):
    server = EmbeddedPostgres(home)
    dsn = server.ensure_running()
    with psycopg.connect(dsn) as connection:
        settings = dict(connection.execute("select name, setting from pg_settings").fetchall())
    assert (settings["fsync"], settings["synchronous_commit"], settings["full_page_writes"]) == (
        "on",
        "on",
        "on",
    )
    assert settings["listen_addresses"] == ""
    for folder in (server.root, server.socket_directory, server.data_directory):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    hba = scalar(dsn, "select json_agg(distinct auth_method) from pg_hba_file_rules")
    assert hba == ["peer"]
    assert ":" not in dsn.removeprefix("postgresql:")  # neither password nor port


@pytest.mark.system("root")  # Only root may become another user.
def test_another_user_of_the_machine_gets_neither_files_nor_connection(home):
    server = EmbeddedPostgres(home)
    server.ensure_running()
    home.chmod(0o755)
    other = pwd.getpwnam("nobody" if server.root.owner() != "nobody" else "daemon")
    shown = subprocess.run(
        ["ls", str(server.root)],
        user=other.pw_uid,
        group=other.pw_gid,
        extra_groups=[],
        capture_output=True,
        text=True,
    )
    assert "Permission denied" in shown.stderr
    # Nor where the folder lets it through: the kernel says who it is.
    for folder in (server.root, server.socket_directory):
        folder.chmod(0o755)
    socket = server.socket_directory / ".s.PGSQL.5432"
    socket.chmod(0o777)
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(other.pw_gid)
            os.setuid(other.pw_uid)
            psycopg.connect(server.dsn()).close()
            os._exit(0)
        except psycopg.OperationalError as error:
            os._exit(7 if "Peer authentication failed" in str(error) else 8)
        finally:
            os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_a_killed_user_and_ctrl_c_leave_the_server_alone(home):
    user = start(home, "; import os, signal; sys.stdin.read()")
    pid = int(user.stdout.readline())
    assert os.getsid(pid) != os.getsid(user.pid)
    assert os.getpgid(pid) != os.getpgid(user.pid)
    user.kill()
    user.communicate(timeout=10)
    assert EmbeddedPostgres(home).status().pid == pid


def test_after_kill_9_of_the_server_the_next_start_recovers_what_was_committed(home):
    server = EmbeddedPostgres(home)
    dsn = server.ensure_running()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("create table kept (value int)")
        connection.execute("insert into kept values (42)")
        catalog = connected(dsn)
        pid = server.status().pid
        os.kill(pid, signal.SIGKILL)
        assert EmbeddedPostgres(home).ensure_running() == dsn
    assert server.status().pid != pid
    assert scalar(dsn, "select value from kept") == 42
    assert "captionacc" in repr(catalog)


def test_a_stale_pid_file_of_a_living_foreign_process_does_not_stop_the_start(home):
    server = EmbeddedPostgres(home)
    dsn = server.ensure_running()
    server.stop()
    # As after a power cut, when another process has the number.
    (server.data_directory / "postmaster.pid").write_text(
        f"{os.getppid()}\n{server.data_directory}\n0\n5432\n"
    )
    assert not server.status().running
    assert scalar(server.ensure_running(), "select 1") == 1
    assert server.dsn() == dsn


def test_an_initdb_that_was_killed_half_way_is_done_again(new_home):
    server = EmbeddedPostgres(new_home, settings={"fsync": "off"})
    server._make_folders()
    half = server.root / "data.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    assert scalar(server.ensure_running(), "select 1") == 1


@pytest.mark.slow
def test_stopping_is_idempotent_and_disconnects_its_users(home):
    server = EmbeddedPostgres(home)
    server.stop()
    dsn = server.ensure_running()
    process = psutil.Process(server.status().pid)
    with psycopg.connect(dsn) as connection:
        server.stop()
        assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
    server.stop()
    assert not server.status().running


def test_other_databases_are_made_when_asked_for(home):
    server = EmbeddedPostgres(home)
    dsn = server.ensure_running("dagster")
    assert scalar(dsn, "select current_database()") == "dagster"
    assert server.ensure_running("dagster") == dsn


@pytest.mark.slow
@pytest.mark.parametrize("name", ["x" * 120, "with space, comma and 'quotes'", "日本語"])
def test_long_and_odd_paths_work_and_the_folder_may_be_moved_there(home, name):
    EmbeddedPostgres(home).ensure_running()
    EmbeddedPostgres(home).stop()
    moved = home / name
    moved.mkdir()
    (home / "postgres").rename(moved / "postgres")
    server = EmbeddedPostgres(moved)
    try:
        assert scalar(server.ensure_running(), "select 1") == 1
    finally:
        server.stop()
        (moved / "postgres").rename(home / "postgres")
        moved.rmdir()
        if not server.socket_directory.is_relative_to(home):
            shutil.rmtree(server.socket_directory)


def test_a_data_folder_of_another_major_version_is_refused(new_home):
    server = EmbeddedPostgres(new_home)
    server._make_folders()
    server.data_directory.mkdir()
    (server.data_directory / "PG_VERSION").write_text("15\n")
    with pytest.raises(EmbeddedPostgresError, match="made by PostgreSQL 15"):
        server.ensure_running()


def test_a_link_in_place_of_the_socket_folder_is_refused(new_home, tmp_path):
    server = EmbeddedPostgres(new_home)
    server.root.mkdir(mode=0o700)
    if os.geteuid() == 0:
        user = server._server_user() if new_home.stat().st_uid else pwd.getpwnam("nobody")
        os.chown(server.root, user.pw_uid, user.pw_gid)
    server.socket_directory.symlink_to(tmp_path)
    with pytest.raises(EmbeddedPostgresError, match="belongs to"):
        server.ensure_running()


@pytest.mark.slow
def test_it_starts_and_stops_in_a_home_that_was_closed_to_others(home):
    """For root, its user has access through an access list, which a change of the folder's mode revokes."""
    server = EmbeddedPostgres(home)
    server.ensure_running()
    home.chmod(0o755)
    make_home(home)
    assert stat.S_IMODE(home.stat().st_mode) & ~stat.S_IXGRP == 0o700
    server.stop()
    home.chmod(0o755)
    assert scalar(server.ensure_running(), "select 1") == 1
    assert stat.S_IMODE(home.stat().st_mode) & ~stat.S_IXGRP == 0o700


def test_a_server_that_cannot_start_shows_its_log(home):
    EmbeddedPostgres(home).stop()
    server = EmbeddedPostgres(home, settings={"shared_buffers": "1 potato"})
    with pytest.raises(EmbeddedPostgresError, match="potato"):
        server.ensure_running()
