"""Drafts the SQL that brings one catalogue to the state of another."""

from dataclasses import dataclass, field

import psycopg

from captionacc_dagster.constants import DEFAULT_SCHEMA
from schema_migrations.catalogue_objects import Catalogue, Column, Definition, Right, read_catalogue
from schema_migrations.dump import PUBLICATION

#: What rests on others goes first, and comes last.
_DROPPED = ("view", "policy", "trigger", "constraint", "index", "function")
_CREATED = ("function", "constraint", "index", "trigger", "view", "policy")


@dataclass
class Draft:
    """Statements that were applied to the database that is behind, and what has to be written by hand."""

    connection: psycopg.Connection
    statements: list[str] = field(default_factory=list)
    by_hand: list[str] = field(default_factory=list)

    def add(self, statement: str) -> None:
        """Apply a statement, so that what follows is compared with its effect."""
        try:
            with self.connection.transaction():
                self.connection.execute(statement.encode())
        except psycopg.Error as error:
            reason = str(error).splitlines()[0]
            self.by_hand.append(f"{statement.splitlines()[0]} … cannot be applied: {reason}")
        else:
            self.statements.append(statement)


def draft(connection: psycopg.Connection, wanted: Catalogue, function_texts: dict[str, str]) -> Draft:
    """Change the database behind ``connection`` towards ``wanted`` and return the statements.

    ``function_texts`` are the functions' own files by name: a migration has a function as its file has it.
    Removed tables and columns, types, and changed types of columns are left to a person.
    """
    drafted = Draft(connection)
    before = read_catalogue(connection)
    _drop(drafted, before, wanted)
    _change_tables(drafted, before, wanted)
    now = read_catalogue(connection)
    _create(drafted, now, wanted, function_texts)
    _change_row_security(drafted, now, wanted)
    _change_rights(drafted, read_catalogue(connection), wanted)
    _change_publication(drafted, before, wanted)
    _change_comments(drafted, read_catalogue(connection), wanted)
    return drafted


def _drop(drafted: Draft, before: Catalogue, wanted: Catalogue) -> None:
    for kind in _DROPPED:
        then = wanted.definitions[kind]
        # Newest first: a foreign key before the key that it needs.
        for key, definition in reversed(before.definitions[kind].items()):
            if key not in then or (definition != then[key] and not _replaceable(kind, key, before, wanted)):
                drafted.add(definition.drop)


def _replaceable(kind: str, key: str, before: Catalogue, wanted: Catalogue) -> bool:
    return kind == "function" and before.signatures[key] == wanted.signatures[key]


def _create(drafted: Draft, now: Catalogue, wanted: Catalogue, function_texts: dict[str, str]) -> None:
    for kind in _CREATED:
        present = now.definitions[kind]
        for key, definition in wanted.definitions[kind].items():
            if present.get(key) != definition:
                drafted.add(_creation(kind, key, definition, wanted, function_texts))


def _creation(
    kind: str, key: str, definition: Definition, wanted: Catalogue, function_texts: dict[str, str]
) -> str:
    if kind == "function":
        return function_texts.get(wanted.signatures[key].name, definition.create)
    return definition.create


def _change_tables(drafted: Draft, before: Catalogue, wanted: Catalogue) -> None:
    for table in before.tables.keys() - wanted.tables.keys():
        drafted.by_hand.append(f"table {table} is gone: its rows would be lost")
    for table in wanted.tables:
        columns = wanted.columns.get(table, {})
        if table in before.tables:
            _change_columns(drafted, table, before.columns.get(table, {}), columns)
        else:
            lines = ",\n".join(f"    {name} {column.definition}" for name, column in columns.items())
            drafted.add(f"create table {table} (\n{lines}\n);")


def _change_columns(drafted: Draft, table: str, before: dict[str, Column], wanted: dict[str, Column]) -> None:
    for name in before.keys() - wanted.keys():
        drafted.by_hand.append(f"column {name} of {table} is gone: its values would be lost")
    for name, column in wanted.items():
        former = before.get(name)
        if former is None:
            if column.required and column.default is None and "generated" not in column.type:
                drafted.by_hand.append(
                    f"column {name} of {table} is not null and has no default: rows that exist need a value"
                )
            else:
                drafted.add(f"alter table {table} add column {name} {column.definition};")
        elif former != column:
            _change_column(drafted, f"alter table {table} alter column {name}", former, column)


def _change_column(drafted: Draft, alter: str, former: Column, column: Column) -> None:
    if former.type != column.type:
        drafted.by_hand.append(f"{alter} from {former.type} to {column.type}: values need a conversion")
        return
    if former.default != column.default:
        change = "drop default" if column.default is None else f"set default {column.default}"
        drafted.add(f"{alter} {change};")
    if former.required != column.required:
        drafted.add(f"{alter} {'set' if column.required else 'drop'} not null;")


def _change_row_security(drafted: Draft, now: Catalogue, wanted: Catalogue) -> None:
    for table, protected in wanted.tables.items():
        if now.tables.get(table, protected) != protected:
            action = "enable" if protected else "disable"
            drafted.add(f"alter table {table} {action} row level security;")


def _change_rights(drafted: Draft, now: Catalogue, wanted: Catalogue) -> None:
    shared = _targets(now) & _targets(wanted)
    for rights, verb, preposition in (
        (now.rights - wanted.rights, "revoke", "from"),
        (wanted.rights - now.rights, "grant", "to"),
    ):
        privileges: dict[tuple[str, str], list[str]] = {}
        for right in sorted(_by_privilege({right for right in rights if right.target in shared})):
            privileges.setdefault((right.target, right.role), []).append(
                f"{right.privilege} ({right.column})" if right.column else right.privilege
            )
        for (target, role), names in privileges.items():
            drafted.add(f"{verb} {', '.join(names)} on {target} {preposition} {role};")


def _by_privilege(rights: set[Right]) -> list[Right]:
    """Join the columns of one privilege: ``select (a, b)``."""
    columns: dict[tuple[str, str, str], list[str]] = {}
    for target, role, privilege, column in sorted(rights):
        if column:
            columns.setdefault((target, role, privilege), []).append(column)
    joined = [Right(*key, ", ".join(names)) for key, names in columns.items()]
    return [*(right for right in rights if not right.column), *joined]


def _targets(catalogue: Catalogue) -> set[str]:
    relations = catalogue.tables.keys() | catalogue.definitions["view"].keys()
    return {
        f"schema {DEFAULT_SCHEMA}",
        *(f"table {name}" for name in relations),
        *(f"function {name}" for name in catalogue.signatures),
    }


def _change_publication(drafted: Draft, before: Catalogue, wanted: Catalogue) -> None:
    for tables, verb in (
        (before.published - wanted.published, "drop"),
        (wanted.published - before.published, "add"),
    ):
        for table in sorted(tables):
            # A plain PostgreSQL has no such publication.
            drafted.add(
                "do $$\nbegin\n"
                "    if exists (\n"
                f"        select from pg_catalog.pg_publication where pubname = '{PUBLICATION}'\n"
                "    ) then\n"
                f"        alter publication {PUBLICATION} {verb} table {table};\n"
                "    end if;\nend\n$$;"
            )


def _change_comments(drafted: Draft, now: Catalogue, wanted: Catalogue) -> None:
    for target, text in wanted.comments.items():
        if target in now.comments and now.comments[target] != text:
            drafted.add(f"comment on {target} is {text or 'null'};")
