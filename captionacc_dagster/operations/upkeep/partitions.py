"""Differences between the catalogue's rows and Dagster's partitions."""

from collections.abc import Iterator, Mapping
from functools import partial

from captionacc_dagster.constants import UPKEEP_BATCH
from captionacc_dagster.operations.upkeep.findings import Finding, Workplace
from captionacc_dagster.partitions import VIDEO_PARTITIONS
from captionacc_dagster.resources.catalog import VideoRow

#: Up to so many partitions without a row are removed, whatever share of all partitions they are.
FEW = 20


def partitions_without_a_row(
    work: Workplace, partitions: set[str], rows: Mapping[str, VideoRow]
) -> Iterator[Finding]:
    """Remove partitions that the catalogue does not know.

    Many unknown partitions most likely mean that another catalogue than usual is open: they are kept.
    """
    unknown = sorted(partitions - {row.partition_key for row in rows.values()})
    doubtful = len(unknown) > max(FEW, len(partitions) * 0.1)
    for key in unknown[:UPKEEP_BATCH]:
        if doubtful and work.apply:
            error = f"kept: {len(unknown)} of {len(partitions)} partitions are unknown to this catalogue"
            yield Finding("partition without a row", key, "not in the catalogue", False, error)
            continue
        remove = partial(work.instance.delete_dynamic_partition, VIDEO_PARTITIONS, key)
        yield work.handle("partition without a row", key, "not in the catalogue", remove)


def rows_without_a_partition(
    work: Workplace, partitions: set[str], rows: Mapping[str, VideoRow]
) -> Iterator[Finding]:
    """Add the partitions of videos that a run has worked on."""
    begun = {
        row.partition_key: row for row in rows.values() if row.deleted_at is None and row.layout.tries > 0
    }
    for key in sorted(begun.keys() - partitions)[:UPKEEP_BATCH]:
        add = partial(work.instance.add_dynamic_partitions, VIDEO_PARTITIONS, [key])
        yield work.handle("row without a partition", key, begun[key].display_path, add)
