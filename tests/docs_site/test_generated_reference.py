"""The reference that is made from the code: complete, and asked for by a page each."""

import re
from pathlib import Path

import pytest

from captionacc_dagster.assets.labels import column_schema
from captionacc_dagster.cli.commands import COMMANDS
from captionacc_dagster.definitions import defs
from captionacc_dagster.web.service.routes import ROUTERS
from docs_site import catalogue
from docs_site.client_databases import KINDS, MEANINGS
from docs_site.generated import PARTS, UnknownPartError, names_in, part, with_parts
from docs_site.storage_keys import READERS
from modal_gpu.keys import VideoKeys

DOCS = Path(__file__).resolve().parents[2] / "docs"
SCHEMAS = DOCS.parent / "supabase" / "schemas"


@pytest.fixture(autouse=True)
def migrated(postgres_server, monkeypatch):
    """The session's catalogue instead of one of its own."""
    monkeypatch.setattr(catalogue, "migrated_dsn", lambda: postgres_server.dsn("migrated"))
    monkeypatch.setattr("docs_site.metrics.migrated_dsn", lambda: postgres_server.dsn("migrated"))


def headings(text: str) -> list[str]:
    return re.findall(r"^#+ (.+)$", text, re.MULTILINE)


def test_each_part_stands_on_one_page():
    named = [name for page in DOCS.rglob("*.md") for name in names_in(page.read_text())]
    assert sorted(named) == sorted(PARTS)
    with pytest.raises(UnknownPartError, match="nothing makes the part 'more'"):
        with_parts("<!-- generated: more -->")


def test_every_command_has_its_options():
    text = part("commands")
    assert {f"captionacc {name}" for name in COMMANDS} <= set(headings(text))
    assert "### captionacc layout add-zone" in text and "captionacc extract [OPTIONS]" in text
    assert re.search(r"^\| `--format`, `-f` .*\|$", text, re.MULTILINE)
    assert "required" in text and "| [extract](#captionacc-extract) |" in text
    assert "| `--wait`, `--no-wait` | `--wait` |" in text and "INTEGER (1 to 65535)" in text
    backfill = text.partition("## captionacc backfill\n")[2].partition("\n## ")[0]
    assert re.search(r"^```text\ntenant=…  .*\n(.+\n)+```$", backfill, re.M)


def test_every_route_has_its_answers_and_every_link_its_model():
    text = part("routes")
    paths = {route.path for router in ROUTERS for route in router.routes if route.include_in_schema}
    assert len(paths) > 10 and all(
        re.search(rf"^### [A-Z]+ {re.escape(path)}$", text, re.M) for path in paths
    )
    models = {heading.lower() for heading in headings(text)}
    assert set(re.findall(r"\]\(#([a-z0-9_-]+)\)", text)) <= models


def test_a_route_has_its_limits_and_only_answers_of_its_own():
    text = part("routes")
    videos = text.partition("### GET /videos\n")[2].partition("\n### ")[0]
    assert "| `limit` | query | integer (at least 1, at most 500) | `100` |" in videos
    assert re.findall(r"^\| `(\d{3})` ", videos, re.M) == ["200"]
    webhook = text.partition("### POST /webhooks/supabase/videos\n")[2].partition("\n### ")[0]
    assert "| `401` | object | the bearer secret is missing or wrong |" in webhook


def test_every_key_is_listed():
    text = part("storage-keys")
    public = {name for name in vars(VideoKeys) if not name.startswith("_")}
    missing = {name for name in public if f"`{name}" not in text}
    assert missing <= {"tenant_id", "video_id", *READERS}
    clients, own = text.split("\n## ")
    assert "Below `{tenant_id}/client/videos/{video_id}/`" in clients and "/server/" not in clients
    assert "| `full_frames/frame_001200.jpg` |" in clients and "| `raw-ocr.db.gz` |" in own


def test_every_table_and_function_of_the_schema_files_is_listed():
    tables = re.findall(
        r"^create table captionacc\.(\w+)", "".join(map(Path.read_text, SCHEMAS.glob("tables/*.sql"))), re.M
    )
    assert len(tables) > 15 and set(tables) <= set(headings(part("catalogue-tables")))
    functions = {file.stem for file in SCHEMAS.glob("functions/*/*.sql")}
    text = part("sql-functions")
    assert {name for name in functions if name.startswith("app_")} <= set(headings(text))
    assert [name for name in functions if name not in text] == []


def test_rights_are_those_of_the_database():
    text = part("sql-functions")
    approve = text.partition("### app_approve_layout\n")[2].partition("\n### ")[0]
    assert "Called by: `authenticated`, `service_role`. Runs with its owner's rights." in approve
    assert "`anon`" not in approve
    begin = text.partition("### begin_stage\n")[2].partition("\n### ")[0]
    assert "Called by: `service_role`. Runs with the caller's rights." in begin
    locks = part("catalogue-tables").partition("### video_database_state\n")[2].partition("\n### ")[0]
    assert "`authenticated` (without `lock_token`)" in locks


def test_constraints_of_several_columns_stand_under_their_table():
    text = part("catalogue-tables")
    locks = text.partition("### video_database_state\n")[2].partition("\n### ")[0]
    assert "`PRIMARY KEY (video_id, database_name)`" in locks
    assert "`CHECK (lock_type in ('server', 'client'))`" in locks and "::text" not in text


def test_every_file_of_clients_has_its_columns():
    text = part("client-databases")
    assert {kind.name for kind in KINDS} <= set(headings(text))
    assert "| `end_frame_index` | integer | no |" in text
    for kind in KINDS:
        columns = {column.name for column in column_schema(kind).columns}
        assert set(MEANINGS[kind.name]) <= columns


def test_every_asset_check_and_job_is_listed_and_drawn():
    text = part("assets")
    graph = defs.resolve_asset_graph()
    names = {key.to_user_string() for key in graph.get_all_asset_keys()}
    assert all(f"| `{name}` |" in text for name in names)
    assert {key.name for key in graph.asset_check_keys} <= set(re.findall(r"^\| `(\w+)`", text, re.M))
    drawn = set(re.findall(r"<text x=\"[\d.]+\" y=\"[\d.]+\">(\w+)</text>", text))
    assert drawn == names - {"reconciliation_report"}


def test_every_metric_of_the_collector_is_listed():
    source = (DOCS.parent / "captionacc_dagster" / "operations" / "metrics.py").read_text()
    named = set(re.findall(r'"(captionacc_\w+)"', source)) - {"captionacc_stage_outcomes"}
    text = part("metrics")
    assert [name for name in named if f"| `{name}` |" not in text] == []
    assert "| `captionacc_stage_outcomes_total` | counter | `stage`, `outcome`, `error_type` |" in text


def test_errors_say_what_follows():
    text = part("errors")
    assert re.search(r"^\| `LockHeldError` .* \| tried again \|$", text, re.M)
    assert re.search(r"^\| `StorageAccessError` .* \| the operator acts \|$", text, re.M)
    assert re.search(r"^\| `NotAVideoError` .* \| final \|$", text, re.M)


def test_every_error_is_listed():
    packages = (DOCS.parent / name for name in ("captionacc_dagster", "modal_gpu"))
    files = [file for package in packages for file in package.rglob("*.py")]
    found = r"^class (\w+)\(CaptionAccError\)"
    named = {name for file in files for name in re.findall(found, file.read_text(), re.M)}
    assert len(named) > 30 and [name for name in named if f"| `{name}` |" not in part("errors")] == []
