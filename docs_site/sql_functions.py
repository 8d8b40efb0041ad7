"""The functions of the catalogue, with their arguments and the roles that may call them."""

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from docs_site.catalogue import rows
from docs_site.markdown import cell, code

_FILES = Path(__file__).resolve().parents[1] / "supabase" / "schemas" / "functions"
#: Characters of a line on the page.
_WIDTH = 90
_ROLES = ("anon", "authenticated", "service_role")
_FUNCTIONS = """
    select p.proname as name, pg_get_function_arguments(p.oid) as arguments,
        pg_get_function_result(p.oid) as result, obj_description(p.oid, 'pg_proc') as comment,
        p.prosecdef as definer, p.prorettype = 'trigger'::regtype as is_trigger,
        has_function_privilege('anon', p.oid, 'execute') as anon,
        has_function_privilege('authenticated', p.oid, 'execute') as authenticated,
        has_function_privilege('service_role', p.oid, 'execute') as service_role
    from pg_proc p where p.pronamespace = 'captionacc'::regnamespace order by p.proname
"""


def function_reference() -> str:
    """Return a section for each domain; functions that only others call are named at its end."""
    domains: dict[str, list[dict[str, Any]]] = defaultdict(list)
    files = {file.stem: file.parent.name for file in _FILES.glob("*/*.sql")}
    for one in rows(_FUNCTIONS):
        domains[files.get(one["name"], "other")].append(one)
    return "\n\n".join(_section(name, domains[name]) for name in sorted(domains))


def _section(domain: str, functions: list[dict[str, Any]]) -> str:
    called = [one for one in functions if not one["name"].startswith("_") and not one["is_trigger"]]
    inner = [code(one["name"]) for one in functions if one not in called]
    parts = [f"## {domain.replace('_', ' ').capitalize().replace(' ocr', ' OCR')}"]
    parts += ["\n\n".join(_function(one)) for one in called]
    if inner:
        parts.append(f"Called by other functions and triggers only: {', '.join(inner)}.")
    return "\n\n".join(parts)


def _function(one: dict[str, Any]) -> list[str]:
    roles = ", ".join(code(role) for role in _ROLES if one[role]) or "the owner only"
    rights = "its owner's" if one["definer"] else "the caller's"
    facts = f"Returns {code(one['result'])}. Called by: {roles}. Runs with {rights} rights."
    signature = f"```sql\n{_signature(one['name'], one['arguments'])}\n```"
    return [f"### {one['name']}", cell(one["comment"] or ""), signature, facts]


def _signature(name: str, arguments: str) -> str:
    """Return a call's form; one that is too long for a line has a line for each argument."""
    short = re.sub(r"(?<='|L)::[\w ]+(\[\])?(?=,|$)", "", arguments)
    line = f"{name}({short})"
    if len(line) <= _WIDTH:
        return line
    return f"{name}(\n    " + re.sub(r", (?=p_)", ",\n    ", short) + "\n)"
