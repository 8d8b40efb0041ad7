"""The tables of the catalogue with their columns and who may read them, from a migrated database."""

import re
from collections import defaultdict
from itertools import groupby
from typing import Any

from docs_site.catalogue import rows
from docs_site.markdown import cell, code, table

_COLUMNS = """
    select c.relname as table, obj_description(c.oid, 'pg_class') as table_comment, a.attname as column,
        format_type(a.atttypid, a.atttypmod) as type, a.attnotnull as required,
        pg_get_expr(d.adbin, d.adrelid) as default, col_description(c.oid, a.attnum) as comment,
        array(
            select pg_get_constraintdef(k.oid) from pg_constraint k
            where k.conrelid = c.oid and k.conkey = array[a.attnum] and k.contype <> 'n'
            order by k.contype desc, k.oid
        ) as constraints,
        has_column_privilege('anon', c.oid, a.attnum, 'select') as anon,
        has_column_privilege('authenticated', c.oid, a.attnum, 'select') as authenticated
    from pg_class c join pg_attribute a on a.attrelid = c.oid
    left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
    where c.relnamespace = 'captionacc'::regnamespace and c.relkind in ('r', 'v') and a.attnum > 0
        and not a.attisdropped
    order by c.relkind, c.relname, a.attnum
"""
#: Those of several columns, and of none.
_TABLE_CONSTRAINTS = """
    select c.relname as table, pg_get_constraintdef(k.oid) as definition
    from pg_constraint k join pg_class c on c.oid = k.conrelid
    where c.relnamespace = 'captionacc'::regnamespace and k.contype in ('p', 'u', 'f', 'c')
        and coalesce(cardinality(k.conkey), 0) <> 1
    order by c.relname, k.contype = 'p' desc, k.contype desc, k.conname
"""
#: A literal's type, as PostgreSQL prints it.
_CAST = re.compile(r"::(text|numeric|bigint|integer|double precision|jsonb|uuid)(\[\])?")


def table_reference() -> str:
    """Return a list of the tables and views, and a section for each."""
    of_tables: dict[str, list[str]] = defaultdict(list)
    for one in rows(_TABLE_CONSTRAINTS):
        of_tables[one["table"]].append(_constraint(one["definition"]))
    columns = {name: list(of) for name, of in groupby(rows(_COLUMNS), lambda row: row["table"])}
    overview = table(
        ["table", "holds"],
        ((f"[{name}](#{name})", cell(of[0]["table_comment"] or "")) for name, of in columns.items()),
    )
    return "\n\n".join([overview, *(_section(name, of, of_tables[name]) for name, of in columns.items())])


def _section(name: str, columns: list[dict[str, Any]], constraints: list[str]) -> str:
    lines = table(
        ["column", "type", "null", "default", "constraints and remarks"],
        (
            (
                code(one["column"]),
                cell(one["type"]),
                "no" if one["required"] else "yes",
                code(_CAST.sub("", one["default"] or "")),
                _remarks(one),
            )
            for one in columns
        ),
    )
    parts = [f"### {name}", cell(columns[0]["table_comment"] or ""), _readers(columns), lines]
    if constraints:
        parts.append(f"Constraints of the table: {'; '.join(map(code, constraints))}.")
    return "\n\n".join(parts)


def _constraint(definition: str) -> str:
    """Return a constraint without casts of literals, and a check without its outer parentheses."""
    bare = re.sub(r"([<>=]) \((\d+)\)", r"\1 \2", _CAST.sub("", definition))
    bare = re.sub(r"= ANY \(ARRAY\[([^\]]*)\]\)", r"in (\1)", bare)
    return re.sub(r"^CHECK \(\((.*)\)\)$", r"CHECK (\1)", bare)


def _remarks(column: dict[str, Any]) -> str:
    parts = [code(_constraint(one)) for one in column["constraints"]]
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
