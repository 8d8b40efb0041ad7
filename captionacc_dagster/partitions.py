"""The one partition set: a partition key is a video's UUID."""

import dagster as dg

#: Name of the set, as Dagster's instance takes it.
VIDEO_PARTITIONS = "videos"

videos = dg.DynamicPartitionsDefinition(name=VIDEO_PARTITIONS)
