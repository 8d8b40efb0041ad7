"""``--json``: which commands have it, and that each prints what docs/reference/commands.md says of it."""

import re
from pathlib import Path

import click
import jsonschema
import psycopg
import pytest
import typer.main

from captionacc_dagster.cli.json_tables import SHAPES, replaced, schema, tables
from captionacc_dagster.platform.dagster_home import prepare_dagster_home
from captionacc_dagster.resources.catalog import VideoRow
from captionacc_dagster.settings import get_settings
from tests.all_commands import load_all
from tests.cli.conftest import Captionacc
from tests.cli.documented_json import as_documented
from tests.line_fixtures import Line

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "commands.md"
#: Commands that only act, write a file, serve, or print lines for as long as they run.
WITHOUT = {
    *("demo", "delete", "export", "rename", "migrate", "prepare", "trim"),
    *("up", "stop", "watch", "webhook", "listen", "metrics", "serve"),
    *("layout set", "layout approve", "layout add-zone", "layout move-zone", "layout remove-zone"),
    *("ocr install", "ocr set", "ocr default", "model upload", "model import-wandb"),
}


def commands(command: click.Command, *path: str):
    """Yield each command and group that does something by itself, with its words."""
    if not isinstance(command, click.Group) or (path and command.invoke_without_command):
        yield " ".join(path), command
    if isinstance(command, click.Group):
        for name, sub in command.commands.items():
            yield from commands(sub, *path, name)


ALL = dict(commands(typer.main.get_command(load_all())))


def has_json(command: click.Command) -> bool:
    return any("--json" in parameter.opts for parameter in command.params)


def test_every_command_that_lists_or_reports_has_json():
    assert {name for name, command in ALL.items() if not has_json(command)} <= WITHOUT


def test_every_command_with_json_has_a_shape():
    documented = {
        f"{word} {one}".strip()
        for line in SHAPES
        for word, _, rest in [line.partition(" ")]
        for one in (rest.split("|") if "|" in rest else [re.sub(r" ?(-.*|VIDEO)", "", rest)])
    }
    assert {name for name, command in ALL.items() if has_json(command)} == documented - {"export"}


def test_the_page_has_the_tables_of_the_models():
    page = PAGE.read_text()
    assert tables() in page and replaced(page) == page


def test_a_field_that_is_not_documented_would_be_noticed():
    for shape in schema("status")["$defs"].values():
        assert shape["additionalProperties"] is False
        assert set(shape["required"]) == set(shape["properties"])
    with pytest.raises(jsonschema.ValidationError):
        as_documented("model verify", '{"place": "here", "models": [], "more": 1}')
    with pytest.raises(jsonschema.ValidationError):
        as_documented("model verify", '{"place": "here"}')


def test_each_command_prints_what_the_page_says(
    captionacc: Captionacc, line: Line, finished: VideoRow, make_file, tmp_path: Path, postgres_dsn: str
):
    """In an order in which each has something to show."""
    get_settings.cache_clear()
    prepare_dagster_home(get_settings())
    video, seen = finished.video_id[:8], set()

    def printed(shape: str, *arguments: object, code: int = 0):
        result = captionacc(*arguments, "--json")
        assert result.code == code, result.text
        seen.add(shape)
        return as_documented(shape, result.output)

    first, second, _ = printed("captions show", "captions", video)
    assert first["text"] == "Every evening the harbour falls silent."
    seen.add("export --format json")
    exported = captionacc("export", video, "--format", "json").output
    assert as_documented("captions show", exported)[1] == second

    found = printed("status VIDEO", "status", video)
    assert (found["video_id"], found["state"], found["captions"]) == (finished.video_id, "ready", 3)
    (zone,) = found["zones"]
    assert zone["region"]["pixels"]["bottom"] <= 360
    layout = printed("layout show", "layout", "show", video)
    assert (layout["width"], layout["height"], layout["zones"][0]["region"]) == (640, 360, zone["region"])

    (left,) = printed("infer", "infer", video, "--skip-if-exists")["videos"]
    assert (left["status"], left["successful"], left["total_pairs"]) == ("skipped", 79, 79)

    with psycopg.connect(postgres_dsn) as database:
        database.execute(
            "update captionacc.caption_frame_extents_inference_runs set model_version = 'extents-0'"
        )
    (chosen,) = printed("backfill", "backfill", "--apply")["sample"]
    assert chosen["video_id"] == finished.video_id
    (backfill,) = printed("backfill --list", "backfill", "--list")["backfills"]
    assert backfill["waiting"] == 1
    cancelled = printed("backfill --cancel", "backfill", "--cancel", backfill["backfill_id"][:8])
    assert cancelled["cancelled"] == 1

    edit = ("captions", "set", video, first["id"], "--text", "Evening.")
    assert printed("captions set|split|merge|shift|confirm", *edit)["changes"][0]["after"][0]["text"] == (
        "Evening."
    )
    (tmp_path / "fixed.srt").write_text("1\n00:00:00,840 --> 00:00:02,600\nEvening!\n")
    compared = printed("compare", "compare", video, "--with", tmp_path / "fixed.srt", code=4)
    assert {one["kind"] for one in compared["differences"]} == {"text differs", "only new"}
    changed = printed("import", "import", video, tmp_path / "fixed.srt", "--dry-run")
    assert changed["dry_run"] and changed["counts"]["removed"] == 2

    failed = line.upload(make_file("broken.mp4"))
    line.catalog.fail_stage(failed.video_id, "layout", "run-1", "the file is not a video")
    listed = printed("status", "status")
    assert [one["state"] for one in listed["videos"]] == ["error", "ready"] and not listed["more"]
    assert listed["videos"][0]["stages"]["layout"]["error"]["message"] == "the file is not a video"
    assert printed("status", "status", "--limit", 1)["more"]
    assert printed("retry", "retry", failed.video_id)["stages"] == ["layout"]
    made = printed("ingest", "ingest", "--no-wait", make_file("new.mp4"), "gone.mp4", code=1)
    assert made["videos"][0]["name"] == "new.mp4" and made["refused"][0]["reason"] == "no such file"

    assert printed("upkeep", "upkeep")["applied"] is False
    assert printed("doctor", "doctor")["ok"]
    assert printed("cost", "cost") == []
    estimate = printed("cost estimate", "cost", "estimate", video)
    assert (estimate["video"]["seconds"], estimate["video"]["captions"]) == (8, 3)
    assert printed("cost compare", "cost", "compare", "--minutes", 5)
    assert printed("cost limit", "cost", "limit")["tier"] == "free"
    assert printed("cost limit --tier", "cost", "limit", "--tier", "free")["tier"] == "free"
    assert printed("ocr list", "ocr", "list", "ko", "de")["languages"][1]["letters"]
    (model,) = printed("model list", "model", "list", "--local")["models"]
    assert model["shipped"] and model["in_use"]
    assert printed("model verify", "model", "verify", "--local")["models"] == []
    # Their tests are beside their others: one needs no catalogue, two need a predecessor.
    assert set(SHAPES) - seen == {"extract", "adopt", "adopt --export"}


def test_json_is_ascii_where_the_terminal_is(captionacc: Captionacc, line: Line, make_file, monkeypatch):
    """Python's own escapes of an encoding's missing characters are no JSON."""
    import sys

    line.upload(make_file("\N{GRINNING FACE} \u5b57.mp4"))
    sys.stdout.reconfigure(encoding="ascii")
    try:
        output = captionacc("status", "--json").output
    finally:
        sys.stdout.reconfigure(encoding="utf-8")
    assert output.isascii()
    assert as_documented("status", output)["videos"][0]["name"] == "\N{GRINNING FACE} \u5b57.mp4"
