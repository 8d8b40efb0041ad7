"""The one partition set: a partition is a video, by the key that its row has."""

import dagster as dg

#: Name of the set, for calls of the Dagster instance.
VIDEO_PARTITIONS = "videos"

videos = dg.DynamicPartitionsDefinition(name=VIDEO_PARTITIONS)
