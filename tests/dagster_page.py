"""Dagster's GraphQL as the pages of its UI use it, on the real code location, in this process."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dagster as dg
import yaml
from dagster._core.test_utils import in_process_test_workspace
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceRequestContext
from dagster_graphql.schema import create_schema

from captionacc_dagster.constants import CODE_LOCATION, DEFINITIONS_MODULE

_SCHEMA = create_schema()
_LOCATION = "<<in_process>>"
_REPOSITORY = {"repositoryLocationName": _LOCATION, "repositoryName": "__repository__"}

_FORM = """
query($set: String!, $repository: RepositorySelector!, $partition: String!) {
  partitionSetOrError(partitionSetName: $set, repositorySelector: $repository) {
    ... on PartitionSet { partition(partitionName: $partition) {
      runConfigOrError { ... on PartitionRunConfig { yaml } ... on PythonError { message } }
    } }
  }
}"""
_LAUNCH = """
mutation($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on PythonError { message stack }
  }
}"""
_RUN = """
query($run: ID!) {
  runOrError(runId: $run) { ... on Run {
    status
    tags { key value }
    eventConnection(limit: 1000) { events {
      __typename
      ... on MessageEvent { message level stepKey eventType }
      ... on ErrorEvent { error { message stack className causes { message } } }
      ... on ExecutionStepOutputEvent { metadataEntries {
        label ... on TextMetadataEntry { text } ... on IntMetadataEntry { intValue }
        ... on FloatMetadataEntry { floatValue } ... on MarkdownMetadataEntry { mdStr }
        ... on TableMetadataEntry { table { records } }
      } }
    } }
  } }
}"""
_JOB = """
query($job: PipelineSelector!) {
  pipelineOrError(params: $job) { ... on Pipeline { name description presets { runConfigYaml } } }
}"""


#: The op of each job for people, which the config names.
OPS = {
    "process_video": "process",
    "approve_layout": "approve",
    "redo_caption_ocr": "request_text",
    "backfill_extents": "choose_videos",
    "delete_video": "delete",
}


class LaunchError(Exception):
    """Dagster did not accept a launch; the arguments are what the launchpad shows."""


@dataclass(frozen=True)
class RunPage:
    """The page of a run."""

    run_id: str
    status: str
    tags: Mapping[str, str]
    events: Sequence[Mapping[str, Any]]

    @property
    def visible_tags(self) -> dict[str, str]:
        """The tags that the list of runs shows."""
        return {key: value for key, value in self.tags.items() if "dagster/" not in key}

    @property
    def errors(self) -> list[Mapping[str, Any]]:
        """The errors with their stacks, as ``View full message`` shows them."""
        return [event["error"] for event in self.events if event.get("error")]

    @property
    def failure(self) -> str:
        """The one sentence of a failed run, which its step and the run itself show without a stack."""
        assert self.status == "FAILURE"
        assert all(not error["stack"] and not error["causes"] for error in self.errors), self.errors
        (sentence,) = {error["message"] for error in self.errors}
        assert "\n" not in sentence
        return sentence

    @property
    def red(self) -> list[str]:
        """The lines in red."""
        return [event["message"] for event in self.events if event.get("level") in ("ERROR", "CRITICAL")]

    @property
    def lines(self) -> list[str]:
        return [event["message"] for event in self.events if "message" in event]

    @property
    def output(self) -> dict[str, Any]:
        """The metadata of the first output of the run."""
        entries = next(event["metadataEntries"] for event in self.events if "metadataEntries" in event)
        values = ("text", "intValue", "floatValue", "mdStr", "table")
        return {
            entry["label"]: next((entry[value] for value in values if value in entry), None)
            for entry in entries
        }


@dataclass(frozen=True)
class DagsterPage:
    """What a person does in the UI. Runs are executed before :meth:`launch` returns."""

    context: WorkspaceRequestContext

    def query(self, text: str, **variables: Any) -> Any:
        self.context.loaders.clear()
        result = asyncio.run(
            _SCHEMA.execute_async(text, context_value=self.context, variable_values=variables)
        )
        assert not result.errors, result.errors
        return result.data

    def form(self, job: str, partition: str) -> dict[str, Any]:
        """Choose a partition in a job's launchpad, and return the config that it then shows."""
        answer = self.query(_FORM, set=f"{job}_partition_set", repository=_REPOSITORY, partition=partition)
        found = answer["partitionSetOrError"]["partition"]["runConfigOrError"]
        assert "yaml" in found, found
        return yaml.safe_load(found["yaml"])

    def described(self, job: str) -> dict[str, Any]:
        """Return a job's description, and the config that its launchpad shows at first."""
        found = self.query(_JOB, job={**_REPOSITORY, "pipelineName": job})["pipelineOrError"]
        presets = [yaml.safe_load(preset["runConfigYaml"]) for preset in found["presets"]]
        return {"description": found["description"], "presets": presets}

    def launch(
        self,
        job: str,
        config: Mapping[str, Any] | None = None,
        partition: str | None = None,
        assets: Sequence[str] = (),
    ) -> RunPage:
        """Launch a job, or some of its assets, and return the page of the run. Raises ``LaunchError``."""
        tags = [{"key": "dagster/partition", "value": partition}] if partition else []
        selector: dict[str, Any] = {**_REPOSITORY, "pipelineName": job}
        if assets:
            selector["assetSelection"] = [{"path": [name]} for name in assets]
        params = {
            "selector": selector,
            "runConfigData": dict(config or {}),
            "executionMetadata": {"tags": tags},
        }
        answer = self.query(_LAUNCH, params=params)["launchRun"]
        if answer["__typename"] != "LaunchRunSuccess":
            raise LaunchError(answer)
        return self.run(answer["run"]["runId"])

    def fields(self, job: str, partition: str) -> dict[str, Any]:
        """Return the fields of a job for people, as :meth:`form` fills them."""
        (op,) = self.form(job, partition)["ops"].values()
        return op["config"]

    def act(self, job: str, partition: str | None, **fields: Any) -> RunPage:
        """Launch a job for people with these fields in its form."""
        return self.launch(job, {"ops": {OPS[job]: {"config": fields}}}, partition)

    def run(self, run_id: str) -> RunPage:
        found = self.query(_RUN, run=run_id)["runOrError"]
        tags = {tag["key"]: tag["value"] for tag in found["tags"]}
        return RunPage(run_id, found["status"], tags, found["eventConnection"]["events"])


@contextmanager
def dagster_page(instance: dg.DagsterInstance) -> Iterator[DagsterPage]:
    """Open the UI's side of an instance on disk that executes runs in this process."""
    target = LoadableTargetOrigin(module_name=DEFINITIONS_MODULE, attribute=CODE_LOCATION)
    with in_process_test_workspace(instance, target) as context:
        yield DagsterPage(context)
