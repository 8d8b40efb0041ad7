"""The how-to pages: commands exist with their options, queries run, and examples do what they say."""

import json

import click
import numpy as np
import psycopg
import pytest

from tests.docs_site.recipes import (
    HOW_TO,
    OTHER_PAGES,
    REPOSITORY,
    RecipeError,
    blocks,
    check,
    commands,
)

PAGES = {page.stem: page.read_text(encoding="utf-8") for page in HOW_TO}
COMMANDS = [
    (page.relative_to(REPOSITORY).as_posix(), command)
    for page in (*HOW_TO, *OTHER_PAGES)
    for command in commands(page.read_text(encoding="utf-8"))
]
QUERIES = [
    (name, statement.strip())
    for name, page in PAGES.items()
    # tests/cli/test_operations_doc.py, tests/cli/test_verification_doc.py
    if name not in ("operations", "verification")
    for block in blocks(page, "sql")
    for statement in block.split(";")
    if statement.strip()
]


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_a_command_of_a_page_exists_with_its_options(page: str, command: str):
    check(command)


@pytest.mark.parametrize(
    "command",
    [
        "captionacc backfil --list",
        "captionacc ocr set --language ko talk.mp4",
        "docker compose -f deploy/compose.yaml exec worker captionacc doctor",
        "docker compose -f deploy/compose.yaml exec daemon captionacc docter",
        "docker compose -f deploy/compose.yaml --profile slow up -d",
        "kubectl -n captionacc exec deploy/captionacc-web -- captionacc doctor",
        "kubectl -n captionacc apply -f deploy/kubernets/",
        "helm -n captionacc template captionacc dagster/dagster --version 1.12.0 -f deploy/helm-values.yaml",
        "make documentation",
        "python -m training.train --background backgrounds/",
        "export CAPTIONACC_STORAGE=s3://captions",
        "nonsense --help",
    ],
)
def test_an_invented_command_would_be_noticed(command: str):
    with pytest.raises((RecipeError, click.UsageError)):
        check(command)


def test_the_pages_have_the_commands_that_matter():
    paths = {page: f"docs/how-to/{page}.md" for page in PAGES}
    tools = {page: {check(command) for name, command in COMMANDS if name == paths[page]} for page in PAGES}
    assert tools["supabase"] >= {"supabase", "captionacc", "curl"}
    assert tools["one-machine"] >= {"docker", "openssl"}
    assert tools["kubernetes"] >= {"kubectl", "helm"}
    assert tools["modal"] >= {"modal", "captionacc"}
    assert tools["disaster-recovery"] >= {"pg_dump", "pg_restore", "captionacc"}
    assert len(COMMANDS) > 120


@pytest.mark.parametrize("page", ["supabase", "tenant-limits"])
def test_the_queries_of_a_page_run_one_after_the_other(page: str, postgres_dsn: str):
    with psycopg.connect(postgres_dsn) as connection:
        for name, statement in QUERIES:
            if name == page:
                connection.execute(statement.encode())
        users = connection.execute("select role, approval_status from captionacc.user_profiles").fetchall()
        connection.rollback()  # limits of tiers would stay for other tests
    assert users == [("owner", "approved")]
    assert {name for name, _ in QUERIES} <= {"supabase", "tenant-limits"}


@pytest.mark.parametrize("page", PAGES)
def test_json_of_a_page_can_be_read(page: str):
    for block in blocks(PAGES[page], "json"):
        json.loads(block)


def test_the_engine_of_the_page_reads():
    (block,) = blocks(PAGES["new-ocr-engine"], "python")
    namespace: dict = {}
    exec(compile(block, "new-ocr-engine.md", "exec"), namespace)
    image = np.zeros((100, 60, 3), np.uint8)
    image[80:90] = 255
    (line,) = namespace["engine"].recognize(image)
    assert (line.text, line.box.top, line.box.bottom) == ("bar", 0.8, 0.9)
    assert namespace["engine"].recognize(np.zeros((100, 60, 3), np.uint8)) == []
