"""Runs whose end was not reported: the row says so after a while, and a run without its process fails."""

import json
import os
import subprocess
import sys
import uuid
from datetime import timedelta

import dagster as dg
import pytest
from dagster._core.events import DagsterEvent, DagsterEventType

from captionacc_dagster.dagster_internals import run_processes
from captionacc_dagster.sensors import run_outcomes as run_outcomes_module
from tests.sensors.conftest import World


class TestLostRuns:
    def test_a_row_whose_run_ended_unnoticed_is_settled_after_a_while(self, world: World, no_retry):
        """This happens when the sensor was off, or the machine stopped between two writes."""
        video, run_id = world.working()
        no_retry(run_id)
        world._cursor = json.dumps({"failures": 10**9, "cancellations": 10**9, "missing": {}})
        assert "0 stages" in world.tick()
        world.later(timedelta(minutes=2))
        assert "1 stages" in world.tick()
        assert world.row(video).layout.error_details["error_type"] == "RunFailed"

    def test_a_retry_that_never_came_is_recorded_in_the_row(self, world: World):
        video, run_id = world.working()
        world.fail(run_id)
        world.later(timedelta(minutes=5))
        world.tick()
        assert world.row(video).layout.run_id == run_id
        world.later(timedelta(minutes=6))
        world.tick()
        assert world.row(video).layout.status == "error"

    def test_a_retry_that_died_before_it_began_and_is_repeated_itself_is_no_error(self, world: World):
        """The row still names the first run; the third one is on its way."""
        video, first = world.working()
        second, third = (
            world.queue.submit("layout", [dg.RunRequest(partition_key=video.video_id)])[0] for _ in range(2)
        )
        for run_id, retry in ((first, second), (second, third)):
            world.instance.add_run_tags(run_id, {"dagster/auto_retry_run_id": retry})
            world.fail(run_id)
        world.later(timedelta(minutes=5))
        assert "0 stages" in world.tick()
        assert (world.row(video).layout.status, world.row(video).layout.run_id) == ("wait", first)

        # Once the last one has died too, nothing continues.
        world.instance.add_run_tags(third, {"dagster/max_retries": "0"})
        world._cursor = json.dumps({"failures": 10**9, "cancellations": 10**9, "missing": {}})
        world.fail(third)
        world.later(timedelta(minutes=2))
        assert "1 stages" in world.tick()
        assert world.row(video).layout.status == "error"

    def test_a_row_of_a_lost_instance_is_settled_after_an_hour(self, world: World):
        video = world.video()
        world.catalog.begin_stage(video.video_id, "layout", str(uuid.uuid4()))
        world.later(timedelta(minutes=50))
        world.tick()
        assert world.row(video).layout.status == "wait"
        world.later(timedelta(minutes=11))
        world.tick()
        assert world.row(video).layout.error_details["error_type"] == "RunLostError"

    def test_a_running_run_is_left_alone_however_long(self, world: World):
        video, run_id = world.working()
        world.later(timedelta(days=2))
        world.tick()
        assert world.row(video).layout.run_id == run_id


class TestProcesses:
    """After a reboot no code server has the run, and Dagster's default launcher never checks."""

    @pytest.fixture
    def default_launcher(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dg, "DefaultRunLauncher", object)

    GONE = json.dumps({"host": "localhost", "socket": "/nonexistent/captionacc"})

    def test_a_run_whose_server_is_gone_fails_so_that_dagster_restarts_it(
        self, world: World, default_launcher, monkeypatch
    ):
        video, run_id = world.working(**{".dagster/grpc_info": self.GONE})
        assert "0 without their process" in world.tick()
        assert world.queue.run(run_id).status == dg.DagsterRunStatus.STARTED
        monkeypatch.setattr(run_outcomes_module, "GONE_AFTER", timedelta(0))
        assert "1 without their process" in world.tick()
        run = world.queue.run(run_id)
        assert run.status == dg.DagsterRunStatus.FAILURE
        assert run.tags["dagster/will_retry"] == "true"
        assert world.row(video).layout.status == "wait"

    def test_a_process_that_died_unnoticed_by_its_server_is_gone(
        self, world: World, default_launcher, monkeypatch
    ):
        """Its server could not inform Dagster's database, and still lists the run."""
        monkeypatch.setattr(run_outcomes_module, "GONE_AFTER", timedelta(0))
        monkeypatch.setattr(run_processes, "_has", lambda server, run_id: True)
        _, run_id = world.working(**{".dagster/grpc_info": self.GONE})
        # A process whose number was not reported counts as alive.
        assert "0 without their process" in world.tick()
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
            world.instance.report_engine_event(
                f"Started process for run (pid: {process.pid}).", world.queue.run(run_id)
            )
            assert "0 without their process" in world.tick()
            process.kill()
            # Its exit status has not been collected yet.
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            assert "1 without their process" in world.tick()
        assert world.queue.run(run_id).status == dg.DagsterRunStatus.FAILURE

    def test_a_server_on_another_machine_is_believed(self, world: World, default_launcher, monkeypatch):
        monkeypatch.setattr(run_outcomes_module, "GONE_AFTER", timedelta(0))
        monkeypatch.setattr(run_processes, "_has", lambda server, run_id: True)
        # An address of the range for documentation.
        _, run_id = world.working(**{".dagster/grpc_info": json.dumps({"host": "192.0.2.1", "port": 4000})})
        world.instance.report_engine_event(
            "Started process for run (pid: 999999999).", world.queue.run(run_id)
        )
        assert "0 without their process" in world.tick()

    def test_one_that_was_being_cancelled_is_cancelled(self, world: World, default_launcher, monkeypatch):
        monkeypatch.setattr(run_outcomes_module, "GONE_AFTER", timedelta(0))
        _, run_id = world.working(**{".dagster/grpc_info": self.GONE})
        event = DagsterEvent(DagsterEventType.RUN_CANCELING.value, "layout")
        world.instance.report_dagster_event(event, run_id=run_id)
        world.tick()
        assert world.queue.run(run_id).status == dg.DagsterRunStatus.CANCELED

    def test_runs_of_other_launchers_are_left_to_dagster(self, world: World, monkeypatch):
        monkeypatch.setattr(run_outcomes_module, "GONE_AFTER", timedelta(0))
        world.working(**{".dagster/grpc_info": self.GONE})
        assert "0 without their process" in world.tick()
