"""The metrics that ``captionacc metrics`` serves, from its collector."""

from collections.abc import Iterator
from contextlib import closing

import dagster as dg

from captionacc_dagster.definitions import defs
from captionacc_dagster.operations.metrics import PlatformCollector
from captionacc_dagster.resources.catalog import Catalog
from captionacc_dagster.resources.catalog.postgres import PostgresTransport
from docs_site.catalogue import migrated_dsn
from docs_site.markdown import cell, code, table


def metric_reference() -> str:
    """Return a table of the metrics of a platform without videos."""
    return table(
        ["metric", "type", "labels", "meaning"],
        (
            (code(name), kind, ", ".join(map(code, labels)) or "–", cell(meaning))
            for name, kind, labels, meaning in sorted(_metrics())
        ),
    )


def _metrics() -> Iterator[tuple[str, str, tuple[str, ...], str]]:
    """Yield the name, type, labels and meaning of each metric."""
    sensors = [sensor.name for sensor in defs.sensors or ()]
    with (
        closing(Catalog(PostgresTransport(migrated_dsn()))) as catalog,
        dg.DagsterInstance.local_temp() as here,
    ):
        collector = PlatformCollector(catalog, here, sensors)
        # Those without samples name their labels in the objects that count them only.
        counted = {one._name: tuple(one._labelnames) for one in (collector._durations, collector._outcomes)}
        for family in collector.collect():
            labels = counted.get(family.name, tuple(getattr(family, "_labelnames", ())))
            name = f"{family.name}_total" if family.type == "counter" else family.name
            yield name, family.type, labels, family.documentation
