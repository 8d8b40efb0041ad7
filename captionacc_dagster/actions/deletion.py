"""``delete_video``: deletes a video whose name is given to confirm it."""

import dagster as dg
from pydantic import Field

from captionacc_dagster.actions.acting import acting_on, video_job
from captionacc_dagster.operations.deletion import consequences, delete_named, label
from captionacc_dagster.resources.catalog import Catalog
from captionacc_dagster.settings import get_settings


class Deletion(dg.Config):
    """The confirmation of a deletion."""

    name: str = Field(description="the video's name, such as talk.mp4, which confirms the deletion")


@dg.op(description="Deletes the video in the catalogue, as `captionacc delete` does.")
def delete(context: dg.OpExecutionContext, config: Deletion, catalog: dg.ResourceParam[Catalog]) -> None:
    """Delete the run's video if the form has its name."""
    with acting_on(context, catalog) as video:
        if video.deleted_at is not None:
            context.log.info(f"{label(video)} was deleted on {video.deleted_at:%Y-%m-%d %H:%M} UTC")
            return
        follows = consequences(video, get_settings().deleted_days)
        delete_named(catalog, video, config.name)
        context.log.info(f"{label(video)} is deleted")
        context.add_output_metadata({"video": video.display_path, "follows": " ".join(follows)})


delete_video_job = video_job(
    "delete_video",
    delete,
    "Deletes a video: its processing stops at once, and its files are removed some days later. Choose the "
    "video's partition, and write its name into the form.",
    lambda _: {"name": ""},
)
