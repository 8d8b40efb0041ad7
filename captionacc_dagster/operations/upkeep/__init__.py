"""Upkeep: removes what is no longer needed, and compares the catalogue, the bucket and the partitions."""

from captionacc_dagster.operations.upkeep.findings import Finding, Kind, UpkeepPolicy, UpkeepReport
from captionacc_dagster.operations.upkeep.run import Upkeep

__all__ = ["Finding", "Kind", "Upkeep", "UpkeepPolicy", "UpkeepReport"]
