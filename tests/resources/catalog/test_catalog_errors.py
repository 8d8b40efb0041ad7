"""Each error of PostgreSQL and PostgREST is final or passing as the table says, on both transports."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql

from captionacc_dagster.resources import catalog as catalogue
from captionacc_dagster.resources.catalog import (
    Catalog,
    CatalogAccessError,
    CatalogError,
    CatalogUnavailableError,
    InvalidArgumentError,
)
from captionacc_dagster.resources.catalog.embedded_postgres import EmbeddedPostgres
from captionacc_dagster.resources.catalog.migrations import migrate
from captionacc_dagster.resources.catalog.postgres import PostgresTransport
from captionacc_dagster.resources.catalog.postgres_errors import connect, connection_parameters
from captionacc_dagster.resources.catalog.supabase import SupabaseTransport
from modal_gpu.error_table import TABLE, Meaning, Row, look_up
from tests.catalog_fixtures import MIGRATED
from tests.full_catalog import FullCatalog, connected
from tests.postgrest.server import PostgrestServer, make_key

#: A state of each class without rows of its own beside those that have one.
OF_A_CLASS = {
    "0A": "0A000", "22": "22003", "23": "23505", "42": "42601", "54": "54001", "53": "53200", "40": "40001",
    "08": "08006", "58": "58030", "28": "28P01", "57": "57014",
}  # fmt: skip
STATES = {
    OF_A_CLASS.get(row.sign, row.sign)
    for row in TABLE
    if row.service == "PostgreSQL" and (row.sign in OF_A_CLASS or len(row.sign) == 5)
} | {"40P01"}


def kind_of(row: Row) -> type[CatalogError]:
    if row.meaning.passes:
        return CatalogUnavailableError
    if row.meaning.is_operators:
        return CatalogAccessError
    return InvalidArgumentError if row.sign in ("22", "23") else CatalogError


@pytest.fixture(scope="module")
def failing(postgres_server: EmbeddedPostgres) -> Iterator[None]:
    """A function of the catalogue's schema that raises a given SQLSTATE."""
    with psycopg.connect(postgres_server.dsn(MIGRATED), autocommit=True) as connection:
        connection.execute(
            "create function captionacc.fail_with(p_code text) returns integer language plpgsql as "
            "$$ begin raise exception 'as asked' using errcode = p_code; end $$"
        )
        connection.execute("grant execute on function captionacc.fail_with to service_role")
        yield
        connection.execute("drop function captionacc.fail_with")


@pytest.mark.parametrize("state", sorted(STATES))
def test_an_error_of_the_database_is_what_the_table_says(catalog: Catalog, failing: None, state: str):
    with pytest.raises(CatalogError) as caught:
        catalog.transport.call("fail_with", {"code": state})
    error, row = caught.value, look_up("PostgreSQL", state)
    assert type(error) is kind_of(row), str(error)
    assert error.retryable is row.meaning.passes
    assert error.lies_with_service is (row.meaning.passes or row.meaning.is_operators)
    assert "as asked" in str(error) and "\n" not in str(error)
    if state == "53100":
        assert "the disk of the database is full: make room" in str(error)


@pytest.mark.parametrize("state", sorted(catalogue.ERRORS_BY_SQLSTATE))
def test_an_error_of_our_functions_is_its_own_class(catalog: Catalog, failing: None, state: str):
    with pytest.raises(catalogue.ERRORS_BY_SQLSTATE[state], match="as asked"):
        catalog.transport.call("fail_with", {"code": state})


def test_a_real_deadlock_is_transient(postgres_dsn: str, postgres_catalog: FullCatalog, videos):
    """PostgreSQL ends the one of two that finds it, and rolls back what it did."""
    first, second = videos.uploaded().video_id, videos.uploaded().video_id
    lock = "select from captionacc.videos where id = %s for update"
    with psycopg.connect(postgres_dsn) as patient, psycopg.connect(postgres_dsn) as other:
        patient.execute("set deadlock_timeout = '1h'")
        other.execute("set deadlock_timeout = '10ms'")
        patient.execute(lock, [first])
        other.execute(lock, [second])
        waiting = threading.Thread(target=patient.execute, args=[lock, [second]])
        waiting.start()
        with pytest.raises(psycopg.errors.DeadlockDetected) as caught:
            while True:
                with other.transaction():  # a savepoint: its own lock stays
                    other.execute(lock, [first])
        other.rollback()
        waiting.join(10)
        patient.rollback()
    assert type(postgres_catalog.transport._error(caught.value)) is CatalogUnavailableError


def test_a_server_that_ends_the_connection_is_a_retryable_error(catalog: Catalog, postgres_dsn: str):
    """``pg_terminate_backend``, as when a server shuts down: code 57P01, in the middle of a call."""
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute(
            "create or replace function captionacc.end_connection() returns boolean language sql "
            "security definer as 'select pg_terminate_backend(pg_backend_pid())'"
        )
        connection.execute("grant execute on function captionacc.end_connection to service_role")
        try:
            with pytest.raises(CatalogUnavailableError):
                catalog.transport.call("end_connection", {})
            assert catalog.list_videos() == []
        finally:
            connection.execute("drop function captionacc.end_connection")


@pytest.fixture(scope="module")
def logins(postgres_server: EmbeddedPostgres) -> Iterator[Callable[..., str]]:
    """Create users who log in with a password, on the same server; returns the DSN of one."""
    file = Path(postgres_server.data_directory) / "pg_hba.conf"
    before = file.read_text()
    users = ("err_ann", "err_full", "err_nologin")
    with psycopg.connect(postgres_server.dsn(MIGRATED), autocommit=True) as connection:
        connection.execute("create role err_ann login password 'hunter2-of-ann'")
        connection.execute("create role err_full login password 'x' connection limit 0")
        connection.execute("create role err_nologin nologin password 'x'")
        connection.execute("create database err_closed allow_connections false")
        file.write_text("local all err_ann,err_full,err_nologin,err_nobody scram-sha-256\n" + before)
        connection.execute("select pg_reload_conf()")
        host = quote(str(postgres_server.socket_directory), safe="")

        def dsn(user: str, password: str, database: str = MIGRATED) -> str:
            return f"postgresql://{user}:{password}@{host}/{database}"

        until(lambda: "authentication" in said(dsn("err_ann", "wrong")))
        yield dsn
        file.write_text(before)
        connection.execute("select pg_reload_conf()")
        connection.execute("drop database err_closed")
        for user in users:
            connection.execute(sql.SQL("drop role {}").format(sql.Identifier(user)))


def said(dsn: str) -> str:
    try:
        psycopg.connect(dsn).close()
    except psycopg.Error as error:
        return str(error)
    return ""


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """The server reads its configuration a moment after the signal."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)


CONNECTING = {
    "wrong password": (("err_ann", "wrong"), CatalogAccessError, "correct the user and password"),
    "no such user": (("err_nobody", "x"), CatalogAccessError, "correct the user and password"),
    "may not log in": (("err_nologin", "x"), CatalogAccessError, "correct the user and password"),
    "no such database": (("err_ann", "hunter2-of-ann", "nowhere"), CatalogAccessError, "database's name"),
    "too many connections": (("err_full", "x"), CatalogUnavailableError, "max_connections"),
    "closed database": (("err_ann", "hunter2-of-ann", "err_closed"), CatalogUnavailableError, "accepting"),
}


@pytest.mark.parametrize(("login", "kind", "says"), CONNECTING.values(), ids=CONNECTING)
def test_a_refusal_while_connecting_is_known_by_its_words(logins, login, kind, says):
    """libpq has no code then; a wrong password must not be retried three times like an outage."""
    catalog = connected(logins(*login))
    with pytest.raises(CatalogError) as caught:
        catalog.list_videos()
    assert type(caught.value) is kind and says in str(caught.value), str(caught.value)
    assert "hunter2" not in str(caught.value) and "\n" not in str(caught.value)
    assert type(_raised(lambda: connect(logins(*login)))) is kind


def _raised(action: Callable[[], object]) -> Exception:
    with pytest.raises(CatalogError) as caught:
        action()
    return caught.value


#: Messages of servers and poolers that cannot be produced here, in the words of their sources.
WORDS = {
    'connection to server at "h", port 5432 failed: FATAL:  the database system is starting up': True,
    "FATAL:  the database system is shutting down": True,
    "FATAL:  sorry, too many clients already": True,
    "FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute": True,
    "FATAL:  MaxClientsInSessionMode: max clients reached - in Session mode": True,
    'FATAL:  too many connections for database "captionacc"': True,
    'connection failed: connection to server at "10.0.0.1", port 5432 failed: Connection refused': True,
    "connection timeout expired": True,
    "failed to resolve host 'db.example': [Errno -3] Temporary failure in name resolution": True,
    'FATAL:  no pg_hba.conf entry for host "10.0.0.2", user "ann", database "x", no encryption': False,
    "FATAL:  Tenant or user not found": False,
    "server does not support SSL, but SSL was required": False,
    "SSL error: certificate verify failed": False,
    'FATAL:  role "ann" does not exist': False,
    'FATAL:  Peer authentication failed for user "ann"': False,
}


@pytest.mark.parametrize(("words", "passes"), WORDS.items(), ids=[text[:50] for text in WORDS])
def test_errors_while_connecting_are_transient_or_not(words: str, passes: bool):
    error = PostgresTransport("host=x")._error(psycopg.OperationalError(words))
    assert error.retryable is passes and error.lies_with_service


URLS = {
    "?pgbouncer=true": ["pgbouncer"],
    "?schema=public&connection_limit=1": ["schema", "connection_limit"],
    "?sslmode=require&pgbouncer=true": ["pgbouncer"],
    "?supa=base-pooler.x": ["supa"],
    "?pool_timeout=0": ["pool_timeout"],
    "?pgbouncer": ["pgbouncer"],
}


@pytest.mark.parametrize("password", ["hunter2", "hun%3Fter2", "hun?ter2"])
@pytest.mark.parametrize(("query", "names"), URLS.items())
def test_a_parameter_of_another_client_is_named(query: str, names: list[str], password: str):
    dsn = f"postgresql://ann:{password}@localhost/captionacc{query}"
    for use in (connection_parameters, connect, connected, migrate):
        error = _raised(lambda use=use: use(dsn))
        text = str(error)
        assert type(error) is CatalogAccessError
        assert "remove" in text and all(name in text for name in names)
        assert "%" not in text and "sslmode" not in text
        for secret in ("hunter2", "hun", "ter2", "base-pooler", "public "):
            assert secret not in text


@pytest.mark.parametrize(
    "query", ["", "?sslmode=require", "?sslmode=disable&connect_timeout=3&options=-c%20a%3Db"]
)
def test_parameters_that_postgresql_knows_stay(query: str):
    assert connection_parameters(f"postgresql://ann:pw@localhost/x{query}")["dbname"] == "x"


@pytest.mark.parametrize("scheme", ["postgresql+psycopg", "mysql", "postgres+asyncpg"])
def test_the_error_for_a_url_of_another_library_shows_the_expected_beginning(scheme: str):
    error = _raised(lambda: connection_parameters(f"{scheme}://ann:hunter2@localhost/x"))
    assert f"begins with {scheme}://: write postgresql://" in str(error) and "hunter2" not in str(error)


STATUSES = [row for row in TABLE if row.service == "PostgREST" and row.sign[0].isdigit()]
CODES = [row for row in TABLE if row.sign.startswith("PGRST")]


class TestPostgrest:
    @pytest.fixture
    def answering(
        self, postgrest: PostgrestServer, postgres_dsn: str
    ) -> Iterator[Callable[..., CatalogError]]:
        transport = SupabaseTransport(postgrest.url, make_key("service_role"), retry_pause_seconds=0.001)
        catalog = FullCatalog(transport)

        def ask(status: int, body: str, repeatable: bool = True) -> CatalogError:
            postgrest.requests.clear()
            postgrest.fail_next = [(status, body)] * 9
            with pytest.raises(CatalogError) as caught:
                catalog.list_videos() if repeatable else catalog.claim_new_videos()
            self.asked = len(postgrest.requests)
            return caught.value

        yield ask
        postgrest.fail_next.clear()
        catalog.close()

    @pytest.mark.parametrize("row", STATUSES, ids=lambda row: row.sign)
    def test_a_status_is_what_the_table_says(self, answering, row: Row):
        status = int(row.sign.replace("xx", "18" if row.sign[0] == "4" else "99"))
        error = answering(status, "<html>as a proxy says it</html>")
        assert error.retryable is row.meaning.passes, str(error)
        assert isinstance(error, CatalogAccessError) or not row.meaning.is_operators
        assert self.asked == (4 if row.meaning.passes else 1), "asked again within the call"
        answering(status, "", repeatable=False)
        assert self.asked == (4 if row.meaning is Meaning.UNREACHED else 1), (
            "a claim that may be done is not repeated"
        )

    @pytest.mark.parametrize("row", CODES, ids=lambda row: row.sign)
    def test_a_code_is_what_the_table_says(self, answering, row: Row):
        code = row.sign if len(row.sign) == 8 else row.sign.ljust(8, "0")
        row = look_up("PostgREST", code)
        error = answering(
            400, json.dumps({"code": code, "message": "as asked", "hint": None, "details": None})
        )
        assert error.retryable is row.meaning.passes
        assert isinstance(error, CatalogAccessError) is row.meaning.is_operators
        assert self.asked == (4 if row.meaning.passes else 1)

    def test_a_project_that_is_paused_says_so(self, answering):
        error = answering(540, "<html>paused</html>")
        assert "paused: restore it" in str(error) and not error.retryable
