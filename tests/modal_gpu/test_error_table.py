"""The table of errors: it classifies each possible error as final or transient, once."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import grpc
import modal.exception
import psycopg
import pytest

from captionacc_dagster.runs.retries import DEFAULT
from docs_site.errors import error_classes
from modal_gpu.client_errors import UNANSWERED, row_of
from modal_gpu.error_table import TABLE, Meaning, look_up, page
from modal_gpu.errors import CaptionAccError, ConfigurationError

#: Every error class of the project, by name: whether it may pass, and whether the operator has to act.
PASSES, OPERATOR, FINAL = "passes", "operator", "final"
OURS = {
    "StorageError": PASSES, "OcrUnavailableError": PASSES, "RemoteInterruptedError": PASSES,
    "RemoteUnavailableError": PASSES, "CatalogUnavailableError": PASSES, "LockHeldError": PASSES,
    "LockLostError": PASSES, "AlertDeliveryError": PASSES, "LaunchError": PASSES,
    "ConfigurationError": OPERATOR, "StorageAccessError": OPERATOR, "StorageUrlError": OPERATOR,
    "CatalogAccessError": OPERATOR, "DiskFullError": OPERATOR, "RunQueueError": PASSES,
    "KeysUnavailableError": PASSES, "PredecessorError": OPERATOR,
}  # fmt: skip


def how(kind: type[CaptionAccError]) -> str:
    if kind.retryable:
        return PASSES
    return OPERATOR if issubclass(kind, ConfigurationError) else FINAL


def test_every_error_of_the_project_is_final_unless_it_is_listed_here():
    """A new class that may pass, or that a person has to mend, is entered above on purpose."""
    found = {kind.__name__: how(kind) for kind in error_classes()}
    assert {name: kind for name, kind in found.items() if kind != FINAL} == OURS
    for kind in error_classes():
        error = kind("what happened")
        assert DEFAULT.tries_again(error, 1) is kind.retryable
        about_state = kind.__name__ in ("LockHeldError", "LockLostError")
        assert error.lies_with_service is (found[kind.__name__] != FINAL and not about_state)


def test_every_error_of_the_wire_keeps_its_kind_on_the_way_from_a_container():
    from modal_gpu import errors
    from modal_gpu.answers import error_from_wire
    from modal_gpu.deployment.wire import described

    for kind in vars(errors).values():
        if inspect.isclass(kind) and issubclass(kind, CaptionAccError):
            back = error_from_wire(described(kind("what happened")))
            assert (type(back), str(back)) == (kind, "what happened")


def test_no_code_is_listed_twice_and_each_has_a_meaning():
    signs = [(row.service, row.sign) for row in TABLE]
    assert len(signs) == len(set(signs))
    for row in TABLE:
        assert look_up(row.service, row.sign) is row
        assert not row.advice.endswith(".") and row.advice[:1] == row.advice[:1].lower()


def test_errors_that_a_person_must_fix_explain_how():
    assert [row for row in TABLE if row.meaning.is_operators and not row.advice] == []


def test_the_module_imports_none_of_the_clients():
    code = (
        "import sys, modal_gpu.error_table;"
        "print({'modal', 'grpc', 'psycopg', 'obstore', 'av', 'dagster'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def modal_errors() -> list[type]:
    return [
        kind
        for name, kind in vars(modal.exception).items()
        if inspect.isclass(kind) and issubclass(kind, BaseException) and not name.startswith("_")
    ]


@pytest.mark.parametrize("kind", modal_errors(), ids=lambda kind: kind.__name__)
def test_every_exception_of_modal_has_a_row_of_its_own_or_of_its_family(kind):
    families = [base.__name__ for base in kind.__mro__ if base.__module__ != "builtins"]
    known = [name for name in families if look_up("Modal", name) or look_up("Modal start", name)]
    assert (known and known[0] != "Error") or kind.__name__ == "Error"


@pytest.mark.parametrize(
    ("name", "starting", "meaning"),
    [
        ("AuthError", False, Meaning.SETTING),
        ("NotFoundError", True, Meaning.SETTING),
        ("NotFoundError", False, Meaning.LOST),
        ("FunctionTimeoutError", False, Meaning.TIME_OUT),
        ("OutputExpiredError", False, Meaning.LOST),
        ("InternalFailure", False, Meaning.LOST),
        ("ConnectionError", True, Meaning.UNREACHED),
        ("ResourceExhaustedError", True, Meaning.UNREACHED),
        ("ServiceError", False, Meaning.UNHEARD),
        ("RemoteError", False, Meaning.STOPPED),
        ("ImageBuildError", False, Meaning.FAULT),
        ("ExecutionError", False, Meaning.FAULT),
    ],
)
def test_an_error_of_modals_client_means_what_its_row_says(name, starting, meaning):
    kind = getattr(modal.exception, name)
    error = kind("im-1", "what it said") if name == "ImageBuildError" else kind("what it said")
    assert row_of(error, starting=starting).meaning is meaning


def test_a_spend_limit_is_final_where_a_rate_limit_passes():
    error = modal.exception.ResourceExhaustedError("Workspace has reached its spend limit of $100")
    row = row_of(error, starting=True)
    assert row.meaning is Meaning.FULL and "spend limit" in row.advice
    assert row_of(modal.exception.ResourceExhaustedError("too many requests"), starting=True).meaning.passes


@pytest.mark.parametrize("error", [ConnectionResetError(), OSError("no route"), TimeoutError()])
def test_a_socket_that_fails_on_this_side_says_nothing_of_the_call(error):
    assert row_of(error, starting=True).meaning in UNANSWERED


def test_an_error_that_a_function_raised_is_not_taken_for_modals():
    class ServiceError(Exception):
        """An error of another library in the container, with the same name."""

    for error in (ServiceError(), ValueError("x"), ZeroDivisionError()):
        assert row_of(error, starting=False).meaning is Meaning.FAULT


def test_every_status_of_grpc_has_a_row():
    known = {row.sign for row in TABLE if row.service == "gRPC"}
    assert {status.name for status in grpc.StatusCode} - {"OK"} <= known


@pytest.mark.parametrize(
    ("service", "sign", "passes"),
    [
        ("gRPC", "400", False), ("gRPC", "401", False), ("gRPC", "403", False), ("gRPC", "404", False),
        ("gRPC", "429", True), ("gRPC", "500", True), ("gRPC", "503", True), ("S3", "418", False),
        ("S3", "599", True), ("PostgREST", "418", False), ("PostgREST", "599", True),
        ("PostgREST", "PGRST199", False), ("PostgREST", "PGRST099", True), ("PostgREST", "PGRST399", False),
        ("PostgreSQL", "22P02", False), ("PostgreSQL", "08P01", True), ("PostgreSQL", "53999", True),
    ],
)  # fmt: skip
def test_a_code_without_its_own_row_is_found_by_its_group(service, sign, passes):
    assert look_up(service, sign).meaning.passes is passes


def test_every_sqlstate_has_a_row_of_its_own_or_of_its_class():
    states = {getattr(kind, "sqlstate", None) for kind in vars(psycopg.errors).values()}
    codes = {state for state in states if isinstance(state, str)}
    assert len(codes) > 200
    assert [code for code in sorted(codes) if look_up("PostgreSQL", code) is None] == []
    rows = {
        row.sign for row in TABLE if row.service == "PostgreSQL" and re.fullmatch(r"[A-Z0-9]{5}", row.sign)
    }
    assert rows <= codes


def test_the_page_for_people_is_the_table():
    """``python -m modal_gpu.error_table > docs/reference/errors.md`` after a change."""
    shown = Path(__file__).parents[2] / "docs" / "reference" / "errors.md"
    assert shown.read_text(encoding="utf-8") == page()
