"""The platform for the time of a command."""

from types import SimpleNamespace

from captionacc_dagster.cli.running import RunningPlatform
from captionacc_dagster.platform import dagster_home
from captionacc_dagster.platform.daemon_keeper import DaemonKeeper
from captionacc_dagster.settings import Settings
from captionacc_dagster.web.direct_start import DirectStart


def test_a_command_creates_no_more_runs_once_another_can_take_over_the_daemon(monkeypatch, tmp_path):
    """The other one queues the runs that an ended process created."""
    ended = []
    monkeypatch.setattr(dagster_home, "prepare_dagster_home", lambda settings: None)
    monkeypatch.setattr(DaemonKeeper, "check", lambda self: None)
    monkeypatch.setattr(DaemonKeeper, "__exit__", lambda *_: ended.append("daemon"))
    monkeypatch.setattr(DirectStart, "__exit__", lambda *_: ended.append("direct start"))
    settings = Settings(_env_file=None, CAPTIONACC_HOME=tmp_path)
    with RunningPlatform(SimpleNamespace(settings=settings, catalog=None, object_store=None)):
        pass
    assert ended == ["direct start", "daemon"]
