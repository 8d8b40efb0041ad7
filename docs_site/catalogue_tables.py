"""The tables of the catalogue with their columns and who may read them, from a migrated database."""

from itertools import groupby
from typing import Any

from docs_site.catalogue import rows
from docs_site.markdown import cell, code, table

_COLUMNS = """
    select c.relname as table, obj_description(c.oid, 'pg_class') as table_comment, a.attname as column,
        format_type(a.atttypid, a.atttypmod) as type, a.attnotnull as required,
        pg_get_expr(d.adbin, d.adrelid) as default, col_description(c.oid, a.attnum) as comment,
        coalesce((
            select string_agg(pg_get_constraintdef(k.oid), '; ' order by k.contype desc, k.oid)
            from pg_constraint k where k.conrelid = c.oid and k.conkey = array[a.attnum] and k.contype <> 'n'
        ), '') as constraints,
        has_column_privilege('anon', c.oid, a.attnum, 'select') as anon,
        has_column_privilege('authenticated', c.oid, a.attnum, 'select') as authenticated
    from pg_class c join pg_attribute a on a.attrelid = c.oid
    left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
    where c.relnamespace = 'captionacc'::regnamespace and c.relkind in ('r', 'v') and a.attnum > 0
        and not a.attisdropped
    order by c.relkind, c.relname, a.attnum
"""


def table_reference() -> str:
    """Return a section for each table and view."""
    return "\n\n".join(_section(name, list(of)) for name, of in groupby(rows(_COLUMNS), lambda r: r["table"]))


def _section(name: str, columns: list[dict[str, Any]]) -> str:
    lines = table(
        ["column", "type", "null", "default", "constraints and remarks"],
        (
            (
                code(one["column"]),
                cell(one["type"]),
                "no" if one["required"] else "yes",
                code(one["default"] or ""),
                _remarks(one),
            )
            for one in columns
        ),
    )
    return "\n\n".join([f"### {name}", cell(columns[0]["table_comment"] or ""), _readers(columns), lines])


def _remarks(column: dict[str, Any]) -> str:
    parts = [code(column["constraints"])] if column["constraints"] else []
    return "; ".join([*parts, cell(column["comment"])] if column["comment"] else parts)


def _readers(columns: list[dict[str, Any]]) -> str:
    """Return which roles read the table. Row-level security decides about the rows."""
    roles = []
    for role in ("anon", "authenticated"):
        readable = [one["column"] for one in columns if one[role]]
        if len(readable) == len(columns):
            roles.append(f"`{role}`")
        elif readable:
            others = ", ".join(code(one["column"]) for one in columns if not one[role])
            roles.append(f"`{role}` (without {others})")
    return f"Read by: {', '.join([*roles, '`service_role`'])}."
