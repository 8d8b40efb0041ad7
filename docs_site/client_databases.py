"""The columns of the SQLite files that clients and the pipeline share, from their schemas."""

import dagster as dg

from captionacc_dagster.assets.labels import column_schema
from docs_site.markdown import cell, code, table
from modal_gpu.databases import captions, extents, layout, raw_ocr
from modal_gpu.databases.checked import FileKind

KINDS: tuple[FileKind, ...] = (raw_ocr.KIND, layout.KIND, extents.KIND, captions.KIND)


def database_reference() -> str:
    """Return a section for each file, with its tables' columns."""
    return "\n\n".join(_section(kind) for kind in KINDS)


def _section(kind: FileKind) -> str:
    columns = column_schema(kind).columns
    names = list(dict.fromkeys(column.name.partition(".")[0] for column in columns))
    parts = [f"## {kind.name}", f"Schema version {kind.version}; at most {kind.max_mib} MiB unpacked."]
    for name in names:
        of_table = [column for column in columns if column.name.startswith(f"{name}.")]
        parts += [f"### {name} of {kind.name}", table(_HEADINGS, map(_row, of_table))]
    return "\n\n".join(parts)


_HEADINGS = ("column", "type", "null", "constraints", "remark")


def _row(column: dg.TableColumn) -> tuple[str, str, str, str, str]:
    others = "; ".join(code(text) for text in column.constraints.other) or "–"
    null = "yes" if column.constraints.nullable else "no"
    name = column.name.partition(".")[2]
    return code(name), column.type, null, others, cell(column.description or "")
