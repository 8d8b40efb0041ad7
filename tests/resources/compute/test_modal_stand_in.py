"""The stand-in has the signatures and errors of Modal's client, so that tests on it hold for Modal."""

import inspect

import modal
import pytest

from captionacc_dagster.resources.compute.modal_client import ModalCallSettings, dashboard_url
from tests.modal_stand_in import service as stand_in


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        ("Function", "from_name"),
        ("FunctionCall", "from_id"),
        ("FunctionCall", "get"),
        ("FunctionCall", "cancel"),
        ("Queue", "from_name"),
        ("Queue", "put"),
        ("Queue", "get_many"),
    ],
)
def test_signatures_are_modals(kind: str, method: str):
    def shape(owner: type) -> list[tuple]:
        bound = inspect.getattr_static(owner, method)
        parameters = list(inspect.signature(getattr(owner, method)).parameters.values())
        names = [(p.name, p.kind, p.default) for p in parameters if p.name not in ("self", "cls")]
        return [isinstance(bound, classmethod | staticmethod) or parameters[0].name != "self", *names]

    assert shape(getattr(stand_in, kind)) == shape(getattr(modal, kind))


def test_spawn_accepts_anything_and_returns_a_call_with_an_id(service):
    assert [p.kind.name for p in inspect.signature(modal.Function.spawn).parameters.values()][1:] == [
        "VAR_POSITIONAL",
        "VAR_KEYWORD",
    ]
    for method in ("spawn", "remote", "remote_gen"):
        shape = inspect.signature(getattr(modal.Function, method)).parameters.values()
        assert [p.kind.name for p in shape][1:] == ["VAR_POSITIONAL", "VAR_KEYWORD"], method
    spawned = service.Function.from_name("app", "f").spawn({"a": 1}, b=2)
    assert spawned.object_id.startswith("fc-")
    assert service.payload(spawned.object_id)["args"] == [{"a": 1}]


def test_a_result_that_is_not_there_is_the_builtin_time_out(service):
    """Of ``modal.exception`` only expiry and the function's own time-out are raised by ``get``."""
    source = inspect.getsource(modal._functions._Invocation.poll_function)
    assert "raise TimeoutError()" in source and "raise OutputExpiredError()" in source
    assert "TimeoutError" not in vars(modal._functions) and "OutputExpiredError" in vars(modal._functions)
    spawned = service.Function.from_name("app", "f").spawn()
    with pytest.raises(TimeoutError) as raised:
        spawned.get(timeout=0)
    assert not isinstance(raised.value, modal.exception.Error)


def test_results_stay_and_cancelled_calls_raise_modals_error(service):
    spawned = service.Function.from_name("app", "f").spawn()
    service.answer(spawned.object_id, {"a": 1})
    assert [service.FunctionCall.from_id(spawned.object_id).get() for _ in range(2)] == [{"a": 1}] * 2
    spawned.cancel()
    assert spawned.get() == {"a": 1}, "a call that is done is not cancelled"
    other = service.Function.from_name("app", "f").spawn()
    other.cancel()
    with pytest.raises(modal.exception.RemoteError):
        other.get(timeout=0)


def test_the_dashboard_address_is_the_clients():
    assert dashboard_url("{self.object_id}") in inspect.getsource(modal._object._Object.get_dashboard_url)


def test_defaults_are_the_deployed_apps():
    from modal_gpu.deployment.settings import ModalSettings

    defaults = ModalCallSettings()
    assert defaults.app_name == ModalSettings.model_fields["app_name"].default
