"""What people bring: the upload and the approval. Dagster records them, it does not make them."""

import dagster as dg

from captionacc_dagster.partitions import videos

OWNERS = ["team:captions"]

source_video = dg.AssetSpec(
    "source_video",
    partitions_def=videos,
    group_name="upload",
    kinds={"mp4", "s3"},
    owners=OWNERS,
    description=(
        "The uploaded video, `client/…/video.mp4` in the bucket. Recorded when the `new_videos` sensor sees "
        "that its object is there."
    ),
)

layout_approval = dg.AssetSpec(
    "layout_approval",
    deps=["layout_db"],
    partitions_def=videos,
    group_name="layout",
    kinds={"postgres"},
    owners=OWNERS,
    description=(
        "A person's approval of the caption layout and its crop region, or that of the tenant's auto-approve "
        "policy: who, when, which region. It stands in the video's row; the `layout_approvals` sensor "
        "records it."
    ),
)
