"""The asset graph: a drawing of it, and a table of the assets, their checks and their jobs."""

from typing import Any

import dagster as dg

from captionacc_dagster.definitions import defs
from docs_site.graph_picture import Box, drawing
from docs_site.markdown import cell, code, table

#: Beside the graph of a video.
_APART = {"reconciliation_report"}


def asset_reference() -> str:
    """Return the drawing and the tables."""
    graph = defs.resolve_asset_graph()
    keys = [key for level in graph.toposorted_asset_keys_by_level for key in sorted(level)]
    nodes = {key.to_user_string(): graph.get(key) for key in keys}
    boxes = [
        Box(name, [parent.to_user_string() for parent in node.parent_keys], node.group_name, node.is_external)
        for name, node in nodes.items()
        if name not in _APART
    ]
    assets = table(
        ["asset", "made from", "group", "pool", "code version", "meaning"],
        (_asset(name, node) for name, node in nodes.items()),
    )
    checks = table(
        ["check", "asset", "blocking", "meaning"],
        (_check(graph.get_check_spec(key)) for key in sorted(graph.asset_check_keys, key=str)),
    )
    jobs = table(["job", "makes", "meaning"], (_job(job, graph) for job in _jobs()))
    return "\n\n".join([drawing(boxes), "## Assets", assets, "## Checks", checks, "## Jobs", jobs])


def _asset(name: str, node: Any) -> tuple[str, ...]:
    parents = ", ".join(code(key.to_user_string()) for key in sorted(node.parent_keys)) or "–"
    pools = ", ".join(code(pool) for pool in sorted(node.pools or ())) or "–"
    made_by = parents if not node.is_external else "– (external)"
    return code(name), made_by, node.group_name, pools, node.code_version or "–", cell(node.description or "")


def _check(spec: dg.AssetCheckSpec) -> tuple[str, ...]:
    blocking = "yes" if spec.blocking else "no"
    return code(spec.name), code(spec.asset_key.to_user_string()), blocking, cell(spec.description or "")


def _jobs() -> list[dg.JobDefinition]:
    jobs = (job for job in defs.resolve_all_job_defs() if not job.name.startswith("__"))
    return sorted(jobs, key=lambda job: job.name)


def _job(job: dg.JobDefinition, graph: Any) -> tuple[str, ...]:
    selected = job.asset_layer.selected_asset_keys if job.asset_layer else ()
    made = ", ".join(code(key.to_user_string()) for key in sorted(selected)) or "–"
    return code(job.name), made, cell(job.description or "")
