"""Commands next to a running platform use the existing Dagster home, and do not change it."""

import socket
from contextlib import closing

import dagster as dg
import pytest

from captionacc_dagster.platform.dagster_home import POOL_LIMITS, prepare_dagster_home
from captionacc_dagster.settings import get_settings
from tests.cli.conftest import Captionacc


@pytest.fixture
def served(monkeypatch) -> list[str]:
    """Replace servers and listeners by ones that return at once, and return which of them were started."""
    reached: list[str] = []
    monkeypatch.setenv("CAPTIONACC_WEBHOOK_SECRET", "a secret of the tests")
    for name in ("CAPTIONACC_WEBHOOK_PORT", "CAPTIONACC_METRICS_PORT"):
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            monkeypatch.setenv(name, str(free.getsockname()[1]))
    monkeypatch.setattr("uvicorn.Server.run", lambda *_, **__: reached.append("serve"))
    monkeypatch.setattr(
        "captionacc_dagster.web.listeners.PostgresListener.run", lambda *_: reached.append("listen")
    )
    return reached


@pytest.mark.parametrize(
    ("is_given", "commands"),
    [(True, ["webhook", "listen", "metrics"]), (False, ["webhook", "upkeep", "doctor"])],
    ids=["DAGSTER_HOME", "embedded"],
)
def test_a_limit_changed_by_an_operator_is_kept(
    captionacc: Captionacc, served, tmp_path, monkeypatch, is_given: bool, commands: list[str]
):
    get_settings.cache_clear()
    home = tmp_path / "home" / "dagster"
    if is_given:
        home = tmp_path / "deployment"
        monkeypatch.setenv("DAGSTER_HOME", str(home))
    prepare_dagster_home(get_settings())
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.event_log_storage.set_concurrency_slots("extract", 7)
        # A run waits for a code server that does not answer.
        assert instance.get_concurrency_config().run_queue_config.max_user_code_failure_retries == 10

    prepare_dagster_home(get_settings())  # as `up` and `ingest` do, which write their own file again
    configuration = home / "dagster.yaml"
    configuration.write_text(configuration.read_text() + "# an operator's note\n")
    for command in commands:
        if not is_given:
            monkeypatch.delenv("DAGSTER_HOME", raising=False)
        assert captionacc(command).code == 0, command

    assert len(served) == (3 if is_given else 1)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        limits = {pool.name: pool.limit for pool in instance.event_log_storage.get_pool_limits()}
    assert limits == POOL_LIMITS | {"extract": 7}
    assert "an operator's note" in configuration.read_text()


@pytest.mark.parametrize("command", ["webhook", "metrics"])
def test_a_server_on_a_taken_port_reports_it_before_it_starts(captionacc, served, monkeypatch, command: str):
    setting = f"CAPTIONACC_{command.upper()}_PORT"
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        monkeypatch.setenv(setting, str(port))
        result = captionacc(command)
    assert result.code == 1 and f"error: port {port} ({setting}) is taken by `" in result.text
    assert served == []
