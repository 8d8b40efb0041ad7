"""Log lines say what they are about, in JSON or text, and hold no secret."""

import io
import json
import logging
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from types import SimpleNamespace

import dagster as dg
import pytest

from captionacc_dagster import logs
from captionacc_dagster.assets.stage import working_on
from captionacc_dagster.logs import about, make_formatter
from captionacc_dagster.partitions import videos
from captionacc_dagster.settings import Settings

SECRET = "s3cr3t/value+with=signs"


@pytest.fixture
def logger() -> Iterator[tuple[logging.Logger, Callable[..., io.StringIO]]]:
    """A logger of the project's, and what it wrote with a formatter."""
    logger = logging.getLogger("captionacc_dagster.of_this_test")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False

    def attach(**options) -> io.StringIO:
        stream = io.StringIO()
        handler = logging.StreamHandler(stream)
        handler.setFormatter(make_formatter(**options))
        logger.addHandler(handler)
        return stream

    yield logger, attach
    logger.handlers.clear()


def test_a_line_has_the_context_of_the_block(logger):
    log, attach = logger
    stream = attach(json=True)
    with about(video="v", run="r", stage="layout"):
        with about(tenant="t", call=None):
            log.info("begun with %s frames", 7)
        with about(call="fc-1"):
            log.warning("waits")
    log.info("apart")
    inner, waiting, apart = map(json.loads, stream.getvalue().splitlines())
    assert inner.pop("timestamp").endswith("Z")
    assert inner == {
        "event": "begun with 7 frames",
        "level": "info",
        "logger": "captionacc_dagster.of_this_test",
        "video": "v",
        "run": "r",
        "stage": "layout",
        "tenant": "t",
    }
    assert (waiting["call"], waiting["level"], "tenant" in waiting) == ("fc-1", "warning", False)
    assert not {"video", "run", "stage", "call"} & set(apart)


def test_a_thread_with_the_context_logs_the_same(logger):
    log, attach = logger
    stream = attach(json=True)
    with about(video="v"), ThreadPoolExecutor(1) as pool:
        pool.submit(copy_context().run, log.info, "inside").result()
    assert json.loads(stream.getvalue())["video"] == "v"


def test_what_dagster_knows_of_a_run_comes_with_its_records(logger):
    log, attach = logger
    stream = attach(json=True)
    meta = {
        "run_id": "r",
        "job_name": "captions",
        "step_key": "caption_ocr",
        "orig_message": "read 3 captions",
        "job_tags": {".dagster/captionacc-tenant-id": "t", "dagster/partition": "v", "other": "x"},
        "dagster_event": None,
    }
    log.info("captions - r - caption_ocr - read 3 captions", extra={"dagster_meta": meta})
    with about(stage="text", video="bound"):
        log.info("x", extra={"dagster_meta": meta})
    first, second = map(json.loads, stream.getvalue().splitlines())
    kept = {name: first[name] for name in ("event", "run", "job", "step", "tenant", "video")}
    assert kept == {
        "event": "read 3 captions",
        "run": "r",
        "job": "captions",
        "step": "caption_ocr",
        "tenant": "t",
        "video": "v",
    }
    assert "other" not in first and (second["video"], second["stage"]) == ("bound", "text")


def test_text_is_a_readable_line(logger):
    log, attach = logger
    stream = attach(json=False)
    with about(video="v", stage="layout"):
        log.warning("späte Bilder")
    line = stream.getvalue().rstrip("\n")
    assert line.endswith(" WARNING captionacc_dagster.of_this_test späte Bilder stage=layout video=v")


@pytest.mark.parametrize("as_json", [True, False])
def test_secrets_are_redacted_everywhere(logger, as_json: bool):
    log, attach = logger
    stream = attach(json=as_json, secrets=[SECRET, "short"])
    with about(call=f"id-{SECRET}"):
        log.info("asked %s of %s", f"https://hook/{SECRET}", "postgresql://me:pass word@db/x")
        log.info(
            "to postgresql+psycopg2://me:p%40ss@db:5432/x with Authorization: Bearer abcdefghijklmnopqrst"
        )
        log.info("%s", {"headers": [f"key={SECRET}"]}, extra={"ignored": SimpleNamespace(secret=SECRET)})
        try:
            raise ValueError(f"refused {SECRET}")
        except ValueError:
            log.exception("failed")
    text = stream.getvalue()
    assert SECRET not in text and json.dumps(SECRET)[1:-1] not in text
    assert "p%40ss" not in text and "abcdefghij" not in text
    assert "ValueError: refused ***" in text and "https://hook/***" in text
    assert "@db:5432/x" in text  # the destination may be shown


def test_short_values_and_ordinary_words_stay(logger):
    log, attach = logger
    stream = attach(json=True, secrets=["no", ""])
    log.info("no bearer token; nothing at https://host:8080/path or 12:30")
    assert json.loads(stream.getvalue())["event"] == (
        "no bearer token; nothing at https://host:8080/path or 12:30"
    )


def test_the_setting_chooses_and_its_secrets_are_known(logger, monkeypatch):
    settings = Settings(
        CAPTIONACC_LOG_FORMAT="json",
        CAPTIONACC_ALERT_WEBHOOK="https://hooks.example/T/abcdef",
        SUPABASE_SERVICE_ROLE_KEY=SECRET,
    )
    monkeypatch.setattr(logs, "get_settings", lambda: settings)
    log, attach = logger
    stream = attach()
    log.info("to https://hooks.example/T/abcdef with %s", SECRET)
    assert json.loads(stream.getvalue())["event"] == "to *** with ***"


def test_settings_that_cannot_be_read_do_not_stop_the_log(logger, monkeypatch):
    def unreadable() -> Settings:
        raise logs.SettingsError("CAPTIONACC_PORT: not a number")

    monkeypatch.setattr(logs, "get_settings", unreadable)
    log, attach = logger
    stream = attach()
    log.info("goes on")
    assert "goes on" in stream.getvalue()


def test_the_context_of_a_stage_is_bound_while_it_runs(catalog, tenant, logger):
    """In a real run: a line that any module logs during a stage names video, tenant, run and stage."""
    log, attach = logger
    stream = attach(json=True)
    video_id = str(uuid.uuid4())
    key = f"{tenant.tenant_id}/client/videos/{video_id}/video.mp4"
    catalog.register_video(tenant.tenant_id, video_id, key, 1, "v.mp4")

    @dg.asset(partitions_def=videos)
    def laid_out(context: dg.AssetExecutionContext) -> None:
        with working_on("layout", context, catalog):
            log.info("decoding")
        log.info("after")

    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("videos", [video_id])
        run_id = dg.materialize([laid_out], partition_key=video_id, instance=instance).run_id
    during, after = map(json.loads, stream.getvalue().splitlines())
    bound = {name: during[name] for name in ("video", "tenant", "run", "stage")}
    assert bound == {"video": video_id, "tenant": tenant.tenant_id, "run": run_id, "stage": "layout"}
    assert not set(bound) & set(after)
