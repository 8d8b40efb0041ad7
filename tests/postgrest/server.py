"""Supabase's API as far as supabase-py needs it, over a real PostgreSQL.

PostgREST itself cannot be had from a package registry. This server follows its documentation
(v12): one transaction a request, the role and the claims of the request's JWT set in it, so that
grants and row-level security act as they do there; functions called with ``json_to_record``;
selects with filters, ``or``, order, limit and offset; inserts, updates and deletes with ``Prefer``;
the profile headers; errors as PostgREST words them, with its status codes; ``response.status``;
an upper limit of rows an answer. In front of it, as on Supabase, an API key is asked for.

It answers no embedded resources, no CSV, no aggregates and no OpenAPI.
"""

import json
import queue
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import jwt
import psycopg
import uvicorn
from psycopg import sql
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

SECRET = "a-secret-of-the-tests-with-at-least-32-characters"

_COMPARISONS = {
    "eq": "=",
    "neq": "<>",
    "gt": ">",
    "gte": ">=",
    "lt": "<",
    "lte": "<=",
    "like": "like",
    "ilike": "ilike",
    "cs": "@>",
    "cd": "<@",
}
_IS = {"null": "null", "not_null": "not null", "true": "true", "false": "false", "unknown": "unknown"}
_RESERVED = {"select", "order", "limit", "offset", "columns", "on_conflict"}
# https://docs.postgrest.org/en/v12/references/errors.html#http-status-codes
_STATUS = {
    "08": 503, "09": 500, "0L": 403, "0P": 403, "23503": 409, "23505": 409, "25006": 405, "25": 500,
    "28": 403, "2D": 500, "38": 500, "39": 500, "3B": 500, "40": 500, "53400": 500, "53": 503, "54": 500,
    "55": 500, "57P01": 503, "57": 500, "58": 500, "F0": 500, "HV": 500, "P0001": 400, "P0": 500,
    "42883": 404, "42P01": 404, "42P17": 500,
}  # fmt: skip


def make_key(role: str, user_id: str | None = None, secret: str = SECRET) -> str:
    """An API key or a user's access token, as the project signs them."""
    claims = {"role": role, "iss": "supabase", "exp": 4102444800}
    if user_id is not None:
        claims["sub"] = user_id
    return jwt.encode(claims, secret, "HS256")


class _RefusedError(Exception):
    def __init__(self, status: int, code: str | None, message: str, details=None, hint=None) -> None:
        self.status = status
        self.body = {"code": code, "details": details, "hint": hint, "message": message}


@dataclass
class PostgrestServer:
    """The running server. ``fail_next`` holds failing responses, each sent once before real ones follow."""

    dsn: str
    schemas: Sequence[str] = ("captionacc",)
    max_rows: int = 1000
    url: str = ""
    #: (status, body) pairs; ``None`` instead of one closes the connection after the work is done.
    fail_next: list[tuple[int, str] | None] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._functions: dict[tuple, tuple] = {}
        self._idle: queue.SimpleQueue[psycopg.Connection] = queue.SimpleQueue()

    @contextmanager
    def running(self) -> Iterator["PostgrestServer"]:
        """Serve on a free port of this machine until the block ends."""
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        routes = [Route("/rest/v1/{path:path}", self._handle, methods=["GET", "POST", "PATCH", "DELETE"])]
        config = uvicorn.Config(Starlette(routes=routes), log_level="critical", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + 30
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        try:
            yield self
        finally:
            server.should_exit = True
            thread.join(10)
            listener.close()
            while not self._idle.empty():
                self._idle.get().close()

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection]:
        """An idle connection that still answers, or a new one."""
        connection = None
        while connection is None and not self._idle.empty():
            with suppress(queue.Empty, psycopg.OperationalError):
                candidate = self._idle.get_nowait()
                candidate.execute("")
                connection = candidate
        # As on Supabase, where a role's statements time out after some seconds; simulated without the wait.
        connection = connection or psycopg.connect(
            self.dsn, autocommit=True, options="-c statement_timeout=15000", connect_timeout=10
        )
        try:
            yield connection
        finally:
            if connection.broken:
                connection.close()
            else:
                self._idle.put(connection)

    async def _handle(self, request: Request) -> Response:
        body = await request.body()
        self.requests.append((request.method, request.path_params["path"]))
        failure = self.fail_next.pop(0) if self.fail_next else False
        if failure:
            return Response(failure[1], failure[0])
        answer = await run_in_threadpool(self._answer, request, body)
        if failure is None:
            # The work is committed, and the client never gets the response.
            return _Broken()
        return answer

    def _answer(self, request: Request, body: bytes) -> Response:
        claims: Mapping[str, Any] = {}
        try:
            claims = self._claims(request)
            return self._transaction(request, body, claims)
        except _RefusedError as refused:
            return _json(refused.status, json.dumps(refused.body))
        except psycopg.Error as error:
            code = error.sqlstate or "XX000"
            status = _STATUS.get(code, _STATUS.get(code[:2], 400))
            if code == "42501":
                status = 403 if "sub" in claims or claims.get("role") != "anon" else 401
            elif code.startswith("PT"):
                status = int(code[2:])
            diag = error.diag
            return _json(
                status,
                json.dumps(
                    {
                        "code": code,
                        "details": diag.message_detail,
                        "hint": diag.message_hint,
                        "message": diag.message_primary or str(error),
                    }
                ),
            )

    @staticmethod
    def _claims(request: Request) -> Mapping[str, Any]:
        try:
            jwt.decode(request.headers.get("apikey", ""), SECRET, ["HS256"])
        except jwt.InvalidTokenError:
            hint = "Double check your Supabase `anon` or `service_role` API key."
            raise _RefusedError(401, None, "Invalid API key", None, hint) from None
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        try:
            return jwt.decode(bearer, SECRET, ["HS256"])
        except jwt.InvalidTokenError as error:
            raise _RefusedError(401, "PGRST301", str(error)) from None

    def _transaction(self, request: Request, body: bytes, claims: Mapping[str, Any]) -> Response:
        profile = "accept-profile" if request.method == "GET" else "content-profile"
        schema = request.headers.get(profile, self.schemas[0])
        if schema not in self.schemas:
            exposed = ", ".join(self.schemas)
            raise _RefusedError(406, "PGRST106", f"The schema must be one of the following: {exposed}")
        with self._connection() as connection, connection.transaction():
            connection.execute(
                "select set_config('role', %s, true), set_config('request.jwt.claims', %s, true),"
                " set_config('response.status', '', true)",
                [claims.get("role", "anon"), json.dumps(dict(claims))],
            )
            path = request.path_params["path"]
            if path.startswith("rpc/"):
                status, text = self._rpc(connection, schema, path.removeprefix("rpc/"), request, body)
            else:
                status, text = self._table(connection, schema, path, request, body)
            (own,) = connection.execute("select current_setting('response.status', true)").fetchone()
            return _json(int(own) if own else status, text)

    def _rpc(self, connection, schema: str, name: str, request: Request, body: bytes) -> tuple[int, str]:
        given = json.loads(body or b"{}") if request.method == "POST" else dict(request.query_params)
        key = (schema, name, frozenset(given))
        if key not in self._functions:
            self._functions[key] = self._look_up(connection, *key)
        types, is_set, is_void = self._functions[key]
        function = sql.Identifier(schema, name)
        rest = sql.SQL("limit {}").format(sql.Literal(self.max_rows)) if is_set else sql.SQL("")
        if given:
            columns = sql.SQL(", ").join(
                sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(types[column])) for column in given
            )
            arguments = sql.SQL(", ").join(
                sql.SQL("{0} => _args.{0}").format(sql.Identifier(column)) for column in given
            )
            source = sql.SQL("json_to_record(%s::json) as _args({}), lateral {}({}) as _f").format(
                columns, function, arguments
            )
        else:
            source = sql.SQL("(select %s) as _none, {}() as _f").format(function)
        query = sql.SQL("select to_json(_f)::text from {} {}").format(source, rest)
        values = [value for (value,) in connection.execute(query, [json.dumps(given)]).fetchall()]
        if is_void:
            return 204, ""
        return 200, f"[{','.join(value or 'null' for value in values)}]" if is_set else (values[0] or "null")

    @staticmethod
    def _look_up(connection, schema: str, name: str, given: frozenset[str]) -> tuple:
        rows = connection.execute(
            """
            select p.proargnames, coalesce(p.proargmodes::text[], '{}'), p.pronargs, p.pronargdefaults,
                array(
                    select format_type(t, null) from unnest(p.proargtypes) with ordinality a(t, i) order by i
                ),
                p.proretset, p.prorettype = 'void'::regtype
            from pg_proc p join pg_namespace n on n.oid = p.pronamespace
            where n.nspname = %s and p.proname = %s
            """,
            [schema, name],
        ).fetchall()
        for names, modes, count, defaults, types, is_set, is_void in rows:
            pairs = zip(names or [], modes or ["i"] * len(names or []), strict=True)
            inputs = [name for name, mode in pairs if mode in ("i", "b", "v")]
            if given <= set(inputs) and set(inputs[: count - defaults]) <= given:
                return dict(zip(inputs, types, strict=True)), is_set, is_void
        named = ", ".join(sorted(given))
        raise _RefusedError(
            404,
            "PGRST202",
            f"Could not find the function {schema}.{name}({named}) in the schema cache",
            f"Searched for the function {schema}.{name} with parameters {named}, but no matches were found.",
        )

    def _table(self, connection, schema: str, table: str, request: Request, body: bytes) -> tuple[int, str]:
        # PostgREST answers from its schema cache, whatever the role may see.
        known = connection.execute("select to_regclass(%s)", [f'"{schema}"."{table}"']).fetchone()
        if known == (None,):
            message = f"Could not find the table '{schema}.{table}' in the schema cache"
            raise _RefusedError(404, "PGRST205", message)
        target = sql.Identifier(schema, table)
        query = list(request.query_params.multi_items())
        options = dict(query)
        where = _where([(key, value) for key, value in query if key not in _RESERVED])
        columns = _columns(options.get("select", "*"))
        limit = min(int(options.get("limit", self.max_rows)), self.max_rows)
        tail = sql.SQL("{} limit {} offset {}").format(
            _order(options.get("order")), sql.Literal(limit), sql.Literal(int(options.get("offset", 0)))
        )
        wanted = "return=representation" in request.headers.get("prefer", "")
        if request.method == "GET":
            rows = sql.SQL("select {} from {} {} {}").format(columns, target, where, tail)
            return self._rows(connection, rows, 200)
        if request.method == "POST":
            given = json.loads(body)
            given = given if isinstance(given, list) else [given]
            names = sql.SQL(", ").join(sql.Identifier(name) for name in given[0])
            change = sql.SQL("insert into {0} ({1}) select {1} from json_populate_recordset(null::{0}, {2})")
            change = change.format(target, names, sql.Literal(json.dumps(given)))
        elif request.method == "PATCH":
            given = json.loads(body)
            sets = sql.SQL(", ").join(sql.SQL("{0} = _v.{0}").format(sql.Identifier(name)) for name in given)
            change = sql.SQL("update {0} set {1} from json_populate_record(null::{0}, {2}) _v {3}").format(
                target, sets, sql.Literal(json.dumps(given)), where
            )
        else:
            change = sql.SQL("delete from {} {}").format(target, where)
        if wanted:
            rows = sql.SQL("with changed as ({} returning {}.*) select {} from changed").format(
                change, target, columns
            )
            return self._rows(connection, rows, 201 if request.method == "POST" else 200)
        connection.execute(change)
        return (201 if request.method == "POST" else 204), ""

    @staticmethod
    def _rows(connection, rows: sql.Composable, status: int) -> tuple[int, str]:
        query = sql.SQL("with _rows as ({}) select coalesce(json_agg(_rows), '[]')::text from _rows")
        return status, connection.execute(query.format(rows)).fetchone()[0]


class _Broken(Response):
    """A response of which only the head arrives before the connection ends."""

    async def __call__(self, scope, receive, send) -> None:
        headers = [(b"content-length", b"1000"), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})


def _json(status: int, text: str) -> Response:
    return Response(text if status != 204 else "", status, media_type="application/json")


def _where(filters: Sequence[tuple[str, str]]) -> sql.Composable:
    if not filters:
        return sql.SQL("")
    return sql.SQL("where {}").format(sql.SQL(" and ").join(_filter(*each) for each in filters))


def _filter(column: str, rest: str) -> sql.Composable:
    if column in ("or", "and"):
        parts = [_filter(*part.split(".", 1)) for part in _split(rest[1:-1])]
        return sql.SQL("({})").format(sql.SQL(f" {column} ").join(parts))
    if rest.startswith("not."):
        return sql.SQL("not ({})").format(_filter(column, rest.removeprefix("not.")))
    operator, _, value = rest.partition(".")
    name = sql.Identifier(column)
    if operator == "is" and value in _IS:
        return sql.SQL("{} is {}").format(name, sql.SQL(_IS[value]))
    if operator == "in":
        values = sql.SQL(", ").join(sql.Literal(_unquoted(part)) for part in _split(value[1:-1]))
        return sql.SQL("{} in ({})").format(name, values)
    if operator not in _COMPARISONS:
        raise _RefusedError(400, "PGRST100", f'"failed to parse filter ({rest})" (line 1, column 1)')
    return sql.SQL("{} {} {}").format(name, sql.SQL(_COMPARISONS[operator]), sql.Literal(_unquoted(value)))


def _split(text: str) -> list[str]:
    """Split at commas outside of quotes."""
    return re.findall(r'(?:"(?:\\.|[^"\\])*"|[^,"])+', text)


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] == '"':
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return value


def _columns(spec: str) -> sql.Composable:
    if spec == "*":
        return sql.SQL("*")
    return sql.SQL(", ").join(sql.Identifier(name.strip()) for name in spec.split(","))


def _order(spec: str | None) -> sql.Composable:
    if not spec:
        return sql.SQL("")
    parts = []
    for part in spec.split(","):
        column, *modes = part.split(".")
        words = {"asc": "asc", "desc": "desc", "nullsfirst": "nulls first", "nullslast": "nulls last"}
        parts.append(
            sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(" ".join(words[mode] for mode in modes)))
        )
    return sql.SQL("order by {}").format(sql.SQL(", ").join(parts))
