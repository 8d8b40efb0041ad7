"""The one partition set: a partition key is a video's UUID."""

import dagster as dg

#: Name of the set, for calls of the Dagster instance.
VIDEO_PARTITIONS = "videos"

videos = dg.DynamicPartitionsDefinition(name=VIDEO_PARTITIONS)
