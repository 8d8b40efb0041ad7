"""The one partition set: a partition key is a video's UUID."""

import dagster as dg

videos = dg.DynamicPartitionsDefinition(name="videos")
