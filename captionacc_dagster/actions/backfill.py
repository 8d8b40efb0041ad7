"""``backfill_extents``: finished videos are processed again with the extents model in use."""

from functools import partial

import dagster as dg
from pydantic import Field

from captionacc_dagster.actions.acting import UI_USER, acting, platform_job
from captionacc_dagster.assets.pictures.links import table
from captionacc_dagster.operations.backfill_requests import (
    CONDITIONS,
    check_model,
    read_conditions,
    request_backfill,
)
from captionacc_dagster.operations.video_names import find_video
from captionacc_dagster.resources.catalog import BackfillChoice, Catalog
from captionacc_dagster.resources.compute_settings import model_in_use
from captionacc_dagster.settings import get_settings


class Backfill(dg.Config):
    """Conditions on the videos. Those of one list are alternatives; all lists together narrow the choice."""

    apply: bool = Field(default=False, description="request the backfill; otherwise only show the choice")
    videos: list[str] = Field(
        default=[], description="names, ids, starts of ids, or partition keys; without any, all videos"
    )
    tenants: list[str] = Field(default=[], description="names, ids, or starts of ids of tenants")
    model_versions: list[str] = Field(default=[], description=CONDITIONS["model-version"])
    statuses: list[str] = Field(default=[], description=f"{CONDITIONS['status']}, or both")
    uploaded_before: str | None = Field(default=None, description=CONDITIONS["uploaded-before"])
    uploaded_after: str | None = Field(default=None, description=CONDITIONS["uploaded-before"])
    limit: int | None = Field(default=None, description="maximum number of videos, newest first")
    model_version: str | None = Field(
        default=None, description="the model that you expect; the run fails if another one is in use"
    )
    requested_by: str = Field(default=UI_USER, description="name of the person who asks for it")

    def conditions(self) -> list[tuple[str, str]]:
        """Return the conditions as names and values."""
        named = {
            "video": self.videos,
            "tenant": self.tenants,
            "model-version": self.model_versions,
            "status": self.statuses,
            "uploaded-before": [self.uploaded_before] if self.uploaded_before else [],
            "uploaded-after": [self.uploaded_after] if self.uploaded_after else [],
        }
        return [(name, value.strip()) for name, values in named.items() for value in values]


@dg.op(description="Chooses videos in the catalogue, as `captionacc backfill` does.")
def choose_videos(
    context: dg.OpExecutionContext, config: Backfill, catalog: dg.ResourceParam[Catalog]
) -> None:
    """Choose videos, and request their backfill unless the run is only to show the choice."""
    with acting(context):
        in_use = model_in_use(get_settings())
        check_model(config.model_version, in_use)
        find = partial(find_video, catalog, note=context.log.info)
        choice = request_backfill(
            catalog,
            in_use,
            read_conditions(catalog, config.conditions(), find),
            asked_by=config.requested_by,
            limit=config.limit,
            apply=config.apply,
        )
        _report(context, choice, in_use)


def _report(context: dg.OpExecutionContext, choice: BackfillChoice, model: str) -> None:
    seen = choice.chosen + sum(choice.skipped.values())
    if choice.backfill_id:
        outcome = f"backfill {choice.backfill_id} requested"
    else:
        outcome = "nothing requested" + ("; launch it with `apply: true`" if choice.chosen else "")
    context.log.info(f"{choice.chosen} of {seen} videos chosen for {model}: {outcome}")
    rows = [(video["display_path"], video["model_version"] or "?") for video in choice.sample]
    context.add_output_metadata(
        {
            "outcome": outcome,
            "model": model,
            "chosen": choice.chosen,
            **{f"not chosen: {reason}": count for reason, count in sorted(choice.skipped.items())},
            "videos": table((("video", "string"), ("model", "string")), rows),
        }
    )


backfill_extents_job = platform_job(
    "backfill_extents",
    choose_videos,
    "Processes finished videos again with the extents model in use, at the lowest priority; people's edits "
    "are kept. Launched as it is, it only shows which videos it would choose: set `apply` to request it.",
    {"apply": False, "videos": [], "statuses": ["ready"]},
)
