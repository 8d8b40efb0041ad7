"""``process_video``: what failed or waits is tried, or what exists is made again."""

from typing import Literal

import dagster as dg
from pydantic import Field

from captionacc_dagster.actions.acting import acting_on, video_job
from captionacc_dagster.operations.processing import make_again, process_further
from captionacc_dagster.resources.catalog import Catalog

WHAT_IS_LEFT = "what_is_left"


class Processing(dg.Config):
    """The stage to begin with."""

    begin_with: Literal["what_is_left", "layout", "captions"] = Field(
        default="what_is_left",
        description=(
            "what_is_left: failed stages are tried again, as `captionacc retry` does. layout or captions: "
            "these and all that follows are made again; approvals and people's captions are kept"
        ),
    )


@dg.op(description="Lets the video wait for its runs, which the sensors then request.")
def process(context: dg.OpExecutionContext, config: Processing, catalog: dg.ResourceParam[Catalog]) -> None:
    """Steer the processing of the run's video."""
    with acting_on(context, catalog) as video:
        if config.begin_with == WHAT_IS_LEFT:
            said = process_further(catalog, video)
        else:
            make_again(catalog, video, config.begin_with)
            said = f"its {config.begin_with} and all that follows will be made again"
        context.log.info(f"{video.display_path}: {said}")
        context.add_output_metadata({"video": video.display_path, "follows": said})


process_video_job = video_job(
    "process_video",
    process,
    "Processes a video: what failed is tried again, or everything from its layout or its captions on is made "
    "again. Choose the video's partition. Its runs start within seconds.",
    lambda _: {"begin_with": WHAT_IS_LEFT},
)
