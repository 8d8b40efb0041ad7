"""The loaded definitions: every asset has its metadata for people, and no heavy import happens."""

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.workspace.autodiscovery import loadable_targets_from_python_module

from captionacc_dagster.assets.upkeep import ReconciliationConfig
from captionacc_dagster.constants import CODE_LOCATION, DEFINITIONS_MODULE
from captionacc_dagster.definitions import defs

REPOSITORY = Path(__file__).resolve().parent.parent

#: Asset: stage, pool, what it is made from, kinds beside the store's. As the design's table of the graph.
ASSETS = {
    "source_video": ("upload", None, set(), {"mp4"}),
    "full_frames": ("layout", "extract", {"source_video"}, {"jpeg"}),
    "raw_ocr_db": ("layout", "extract", {"full_frames"}, {"sqlite"}),
    "layout_db": ("layout", "extract", {"raw_ocr_db"}, {"sqlite"}),
    "layout_approval": ("layout", "extract", {"layout_db"}, {"postgres"}),
    "cropped_chunks": ("boundaries", "crop_and_infer", {"source_video", "layout_approval"}, {"webm"}),
    "caption_frame_extents_db": ("boundaries", "crop_and_infer", {"cropped_chunks"}, {"sqlite"}),
    "captions_db": ("boundaries", None, {"caption_frame_extents_db"}, {"sqlite"}),
    "caption_ocr": ("text", "caption_ocr", {"captions_db", "cropped_chunks"}, {"sqlite"}),
    "subtitles": ("text", None, {"caption_ocr"}, {"srt", "vtt"}),
}
#: Databases, with some columns that the UI shows.
DATABASES = {
    "raw_ocr_db": {"frames.status", "full_frame_ocr.confidence"},
    "layout_db": {"boxes.label", "layout_config.crop_top", "caption_zones.language"},
    "caption_frame_extents_db": {"pair_results.forward_prob_same", "run_metadata.model_version"},
    "captions_db": {"captions.start_frame_index", "captions.caption_ocr", "captions.zone"},
}
PEOPLE_BRING = {"source_video", "layout_approval"}
HEAVY = ("torch", "onnxruntime", "rapidocr", "av", "modal", "cv2", "supabase", "google.cloud")


@pytest.fixture(scope="module")
def graph():
    return defs.resolve_asset_graph()


def test_the_graph_has_exactly_the_designs_assets(graph):
    assert {key.to_user_string() for key in graph.get_all_asset_keys()} == set(ASSETS) | {
        "reconciliation_report"
    }


@pytest.mark.parametrize("name", ASSETS)
def test_an_asset_has_its_description_and_kinds(graph, name: str):
    stage, pool, made_from, kinds = ASSETS[name]
    node = graph.get(dg.AssetKey(name))
    assert node.tags["stage"] == stage and node.tags["domain"] == "captions"
    assert {key.to_user_string() for key in node.parent_keys} == made_from
    # Tests have a folder as bucket, unless the environment names another.
    assert node.kinds - {"file", "s3"} == kinds
    assert bool(node.kinds & {"file", "s3"}) == (name != "layout_approval")
    assert node.owners == ["team:captions"]
    assert node.description and node.description.endswith(".")
    assert isinstance(node.partitions_def, dg.DynamicPartitionsDefinition)
    assert node.partitions_def.name == "videos"
    assert (node.pools or set()) == ({pool} if pool else set())
    # A run records the approval of a policy.
    assert node.is_materializable == (name != "source_video")
    assert bool(node.code_version) == (name not in PEOPLE_BRING)


def test_the_groups_read_from_the_upload_to_the_text(graph):
    """The lineage opens with closed groups, so their names are what is read first; none leads backwards."""
    order = ["upload", "layout", "captions", "text"]
    places = {name: order.index(graph.get(dg.AssetKey(name)).group_name) for name in ASSETS}
    assert set(places.values()) == set(range(len(order)))
    for name, (_, _, made_from, _) in ASSETS.items():
        assert all(places[parent] <= places[name] for parent in made_from)
    assert graph.get(dg.AssetKey("reconciliation_report")).group_name == "upkeep"


@pytest.mark.parametrize("name", DATABASES)
def test_a_database_shows_its_columns(graph, name: str):
    schema = graph.get(dg.AssetKey(name)).metadata["dagster/column_schema"]
    schema = getattr(schema, "schema", schema)
    columns = {column.name: column for column in schema.columns}
    assert DATABASES[name] <= columns.keys()
    assert all(column.type for column in columns.values())


def test_the_columns_have_their_constraints_and_comments(graph):
    schema = graph.get(dg.AssetKey("captions_db")).metadata["dagster/column_schema"]
    columns = {column.name: column for column in getattr(schema, "schema", schema).columns}
    status = columns["captions.caption_ocr_status"]
    assert not status.constraints.nullable
    assert any("'queued'" in constraint for constraint in status.constraints.other)
    assert columns["captions.end_frame_index"].description == "Inclusive."
    assert "primary key" in columns["captions.id"].constraints.other
    assert columns["captions.text"].constraints.nullable


def test_the_report_of_upkeep_is_expected_each_night(graph):
    policy = graph.get(dg.AssetKey("reconciliation_report")).freshness_policy
    assert policy.fail_window.to_timedelta() > policy.warn_window.to_timedelta() > timedelta(days=1)


def test_every_materialized_asset_has_a_check(graph):
    checked = {key.asset_key.to_user_string() for key in graph.asset_check_keys}
    assert checked == set(ASSETS) - PEOPLE_BRING


def test_jobs_cover_the_graph_between_them():
    selected = [
        {key.to_user_string() for key in defs.resolve_job_def(name).asset_layer.executable_asset_keys}
        for name in ("layout", "captions", "video")
    ]
    assert selected[0].isdisjoint(selected[1])
    assert selected[0] | selected[1] == set(ASSETS) - PEOPLE_BRING
    assert selected[2] == set(ASSETS) - {"source_video"}


@pytest.mark.parametrize(
    "name", ["new_videos", "layout_approvals", "caption_ocr_requests", "run_outcomes", "priority_aging"]
)
def test_sensors_run_by_default(name: str):
    sensor = defs.resolve_sensor_def(name)
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    assert sensor.description
    assert sensor.minimum_interval_seconds == 5


def test_importing_the_definitions_stays_light():
    program = (
        "import json, sys; import captionacc_dagster.definitions; print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(done.stdout))
    assert "captionacc_dagster.assets.captions" in loaded
    assert [name for name in (*HEAVY, "httpx") if name in loaded] == []


#: What a command needs only if it opens the platform, or never.
BY_COMMAND = {
    "outline()": (
        "captionacc_dagster.settings",
        "pydantic",
        "psycopg",
        "numpy",
        "dagster",
        "httpx",
        "asyncio",
    ),
    "load('status')": ("psycopg", "numpy", "PIL", "dagster", "httpx", "starlette", "yaml"),
    "load('ingest')": ("numpy", "PIL", "dagster", "httpx", "starlette"),
    "list(map(load, COMMANDS))": ("dagster",),
}


@pytest.mark.parametrize("call", BY_COMMAND)
def test_importing_a_command_stays_light(call: str):
    program = (
        "import json, sys; import captionacc_dagster.cli; from captionacc_dagster.cli.commands import *; "
        f"{call}; print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(done.stdout))
    assert [name for name in (*HEAVY, *BY_COMMAND[call]) if name in loaded] == []


_ADAPTATIONS = """
from dagster._core.execution.plan.active import ActiveExecution
from dagster._grpc.server import DagsterApiServer
from captionacc_dagster.definitions import code_location
def adapted():
    start, steps = DagsterApiServer.StartRun, ActiveExecution.plan_events_iterator
    return hasattr(start, "__wrapped__"), hasattr(steps, "is_quiet")
print(adapted())
code_location(), code_location()
print(adapted())
"""


def test_importing_the_definitions_leaves_dagster_as_it_is_and_loading_the_code_location_adapts_it():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _ADAPTATIONS], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == ["(False, False)", f"({sys.platform == 'linux'}, True)"], done.stderr


def test_dagster_finds_the_code_location_in_the_module():
    (target,) = loadable_targets_from_python_module(DEFINITIONS_MODULE, working_directory=None)
    assert target.attribute == CODE_LOCATION
    repository = ReconstructableRepository.for_module(DEFINITIONS_MODULE, CODE_LOCATION)
    assert set(repository.get_definition().job_names) >= {"layout", "captions", "video", "caption_text"}


def test_dagsters_own_command_validates_the_workspace(tmp_path: Path):
    done = subprocess.run(
        [Path(sys.executable).parent / "dagster", "definitions", "validate", "-w", "workspace.yaml"],
        cwd=REPOSITORY,
        env={**os.environ, "DAGSTER_HOME": str(tmp_path), "CAPTIONACC_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert "captionacc" in output and "Validation successful" in output
    # Loading opens nothing.
    assert not (tmp_path / "home").exists()


def test_upkeep_runs_every_night_and_by_hand_only_reports():
    schedule = defs.resolve_schedule_def("upkeep")
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    with dg.build_schedule_context() as context:
        (request,) = schedule.evaluate_tick(context).run_requests
    assert request.run_config["ops"]["reconciliation_report"]["config"] == {
        "dry_run": False,
        "remove_unknown_objects": False,
    }
    assert ReconciliationConfig().dry_run
