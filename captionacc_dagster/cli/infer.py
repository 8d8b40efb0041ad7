"""``infer``: label the frames of finished videos again, at once, and say how each ended."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from captionacc_dagster.cli import json_operation_models as models
from captionacc_dagster.cli.app import Parts, Use, parts
from captionacc_dagster.cli.completion import video_names
from captionacc_dagster.cli.exit_codes import ExitCode
from captionacc_dagster.cli.json_output import AsJson, print_json
from captionacc_dagster.cli.root import app, console, note, waiting
from captionacc_dagster.cli.running import RunningPlatform
from captionacc_dagster.operations.backfill_requests import check_model
from captionacc_dagster.resources.catalog import VideoRow

if TYPE_CHECKING:
    import dagster as dg

    from captionacc_dagster.operations.inference import Inference, Submit

_LOOK_SECONDS = 0.3


@app.command()
def infer(
    videos: Annotated[
        list[str],
        typer.Argument(
            metavar="VIDEO…", help="names, ids, starts of ids, or partition keys", autocompletion=video_names
        ),
    ],
    model_version: Annotated[
        str | None, typer.Option(help="the extents model to use; default: the current one")
    ] = None,
    priority: Annotated[
        Literal["high", "low"], typer.Option(help="high: as work that a person waits for; low: as a backfill")
    ] = "low",
    skip_if_exists: Annotated[
        bool, typer.Option("--skip-if-exists", help="leave videos that this model has labelled")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Label the frames of finished videos again, and wait; people's edits are kept.

    Their captions, text and subtitles are made again from the new labels. A running platform does the work;
    if none is running, this command runs one while it waits. The exit code is 1 if a video failed or was
    rejected. `captionacc backfill` is for many videos.
    """
    from captionacc_dagster.operations import inference
    from captionacc_dagster.resources.compute_settings import model_in_use

    here = parts(Use.WRITE)
    model = model_in_use(here.settings)
    check_model(model_version, model)
    rows = list({row.video_id: row for row in map(here.find_video, videos)}.values())
    known = {
        row.video_id: inference.without_a_run(here.catalog, row, model, skip_if_exists=skip_if_exists)
        for row in rows
    }
    for row in rows:
        if known[row.video_id] is None and (row.frame_count or 0) > inference.WARN_FRAMES:
            note(f"{row.display_path}: {row.frame_count} frames, near the limit of {inference.MOST_FRAMES}")
    ended = {found.video.video_id: found for found in known.values() if found is not None}
    ended |= _run(here, [row for row in rows if row.video_id not in ended], priority)
    results = [ended[row.video_id] for row in rows]
    if as_json:
        print_json(models.Inferred(model_version=model, videos=[_as_json(result) for result in results]))
    else:
        console.print(_table(results), highlight=False)
    if any(result.status in ("failed", "rejected") for result in results):
        raise typer.Exit(ExitCode.FAILED)


@dataclass(frozen=True)
class _Running:
    """The platform while this command waits: Dagster's instance, its queue, and whether all is well."""

    instance: "dg.DagsterInstance"
    submit: "Submit"
    check: Callable[[], None]


@contextmanager
def _running(here: Parts) -> Iterator[_Running]:
    """Rely on a platform, or run one for the time of the block."""
    import dagster as dg

    from captionacc_dagster.dagster_internals.queued_runs import DagsterRunQueue
    from captionacc_dagster.definitions import defs

    with RunningPlatform(here) as platform, dg.DagsterInstance.get() as instance:
        queue = DagsterRunQueue(instance, defs.get_repository_def(), own_daemon=platform.is_own)
        yield _Running(instance, queue.submit, partial(platform.check, []))
        platform.is_idle = True


def _run(here: Parts, rows: Sequence[VideoRow], priority: Literal["high", "low"]) -> dict[str, "Inference"]:
    """Run inference on videos and wait for all of them; return how each ended, by its id."""
    if not rows:
        return {}
    from captionacc_dagster.jobs import infer_job
    from captionacc_dagster.operations import inference
    from captionacc_dagster.runs.tags import RunTags

    with _running(here) as running:
        running.check()
        tags = RunTags(here.catalog, running.instance)
        run_ids = inference.request_runs(rows, infer_job.name, priority, tags, running.submit)
        with waiting(f"Labelling {len(rows)} video{'s' if len(rows) > 1 else ''}"):
            while not all(inference.is_over(running.instance, run_id) for run_id in run_ids.values()):
                time.sleep(_LOOK_SECONDS)
                running.check()
        return {
            row.video_id: inference.ended(here.catalog, running.instance, row, run_ids[row.video_id])
            for row in rows
        }


def _as_json(result: "Inference") -> models.InferredVideo:
    return models.InferredVideo(
        video_id=result.video.video_id,
        name=result.video.display_path,
        status=result.status,
        run_id=result.run_id,
        storage_key=result.storage_key,
        successful=result.successful,
        total_pairs=result.total_pairs,
        message=result.message,
    )


def _table(results: Sequence["Inference"]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("video", "status", "pairs", ""):
        table.add_column(heading)
    for result in results:
        pairs = f"{result.successful} of {result.total_pairs}" if result.storage_key else ""
        table.add_row(result.video.display_path, result.status, pairs, result.message)
    return table
