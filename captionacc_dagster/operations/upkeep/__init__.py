"""Upkeep: removes what is no longer needed, and compares the catalogue, the bucket and the partitions."""

from captionacc_dagster.operations.upkeep.run import Finding, Upkeep, UpkeepPolicy, UpkeepReport

__all__ = ["Finding", "Upkeep", "UpkeepPolicy", "UpkeepReport"]
