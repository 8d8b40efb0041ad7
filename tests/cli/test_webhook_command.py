"""The command ``captionacc webhook``: its secret and its port."""

import pytest
from typer.testing import CliRunner

from captionacc_dagster.settings import SettingsError, get_settings
from tests.all_commands import load_all


def test_without_a_secret_the_command_explains_what_to_set(monkeypatch, tmp_path):
    monkeypatch.setenv("CAPTIONACC_HOME", str(tmp_path))
    monkeypatch.delenv("CAPTIONACC_WEBHOOK_SECRET", raising=False)
    get_settings.cache_clear()
    try:
        result = CliRunner().invoke(load_all(), ["webhook"])
    finally:
        get_settings.cache_clear()
    assert isinstance(result.exception, SettingsError)
    assert "CAPTIONACC_WEBHOOK_SECRET is not set" in str(result.exception)


@pytest.mark.parametrize("command", ["webhook", "metrics"])
@pytest.mark.parametrize("port", ["0", "-1", "65536", "70000"])
def test_an_invalid_port_is_refused(command, port):
    result = CliRunner().invoke(load_all(), [command, "--port", port])
    assert result.exit_code == 2
    assert "1<=x<=65535" in result.output
