"""The platform for the time of a command."""

from types import SimpleNamespace

import pytest

from captionacc_dagster.cli.running import RunningPlatform
from captionacc_dagster.platform import dagster_home
from captionacc_dagster.platform.daemon_keeper import DaemonKeeper
from captionacc_dagster.resources.catalog import CatalogUnavailableError
from captionacc_dagster.settings import Settings
from captionacc_dagster.web.direct_start import DirectStart
from tests.line_fixtures import Line


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


class Keeper(DaemonKeeper):
    """A keeper that starts and finds nothing; ``successor`` is what the next look finds."""

    def __init__(self, settings: Settings, say) -> None:
        super().__init__(settings, say)
        self.successor: dict[str, object] = {}

    def check(self) -> None:
        for name, value in self.successor.items():
            setattr(self, name, value)

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def platform(line: Line, monkeypatch, tmp_path) -> RunningPlatform:
    """A command's platform that runs no processes."""
    monkeypatch.setattr(dagster_home, "prepare_dagster_home", lambda settings: None)
    monkeypatch.setattr("captionacc_dagster.platform.daemon_keeper.DaemonKeeper", Keeper)
    monkeypatch.setattr(DirectStart, "begin", lambda *_: None)
    settings = Settings(_env_file=None, CAPTIONACC_HOME=tmp_path)
    return RunningPlatform(SimpleNamespace(settings=settings, catalog=line.catalog, object_store=line.store))


ONE, ANOTHER = object(), object()


@pytest.mark.parametrize(
    ("runners", "is_returned"),
    [
        ([{"other": ONE}], False),
        ([{"other": ONE}, {"other": None}], False),
        ([{"other": ONE}, {"other": None}, {"other": ANOTHER}], True),
        ([{"other": ONE}, {"other": None, "own": ANOTHER}], True),
        ([{"own": ONE}], True),
    ],
    ids=["first look", "nobody yet", "another successor", "own successor", "own from the beginning"],
)
def test_claims_of_a_daemon_that_has_ended_are_returned(
    platform: RunningPlatform, line: Line, make_file, runners, is_returned: bool
):
    """It may have ended between a claim and its run, and a claim lives for 15 minutes."""
    video_id = line.upload(make_file("a.mp4")).video_id
    assert [row.video_id for row in line.catalog.claim_new_videos()] == [video_id]
    with platform:
        for found in runners:
            platform._daemon.successor = found
            platform.check([video_id])
            assert not is_returned or found == runners[-1] or line.catalog.claim_new_videos() == []
    again = line.catalog.claim_new_videos()
    assert [row.video_id for row in again] == ([video_id] if is_returned else [])
    assert all(row.layout.attempts == 1 for row in again), "the same attempt has the same run key"


def test_a_catalogue_that_is_away_then_stops_nothing(platform: RunningPlatform, line: Line, monkeypatch):
    def away(*_: object) -> None:
        raise CatalogUnavailableError("no answer")

    monkeypatch.setattr(line.catalog, "get_video", away)
    platform._daemon.successor = {"own": ONE}
    with platform:
        platform.check(["3f0e6b1e-0000-4000-8000-000000000000"])
