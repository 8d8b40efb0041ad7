"""Two zones go through the graph on both catalogue transports; a video of one zone knows nothing of them."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from captionacc_dagster.resources.catalog import VideoRow
from captionacc_dagster.resources.catalog.embedded_postgres import EmbeddedPostgres
from captionacc_dagster.resources.catalog.supabase import SupabaseTransport
from modal_gpu.databases.captions import SCHEMA_VERSION, Caption, read_captions, write_captions
from modal_gpu.databases.sqlite_file import read_database
from tests.catalog_fixtures import MIGRATED
from tests.clip_fixtures import ABOVE, BELOW
from tests.full_catalog import FullCatalog, connected
from tests.line_fixtures import Line
from tests.postgrest.server import PostgrestServer, make_key
from tests.run_results import checks, failure


@pytest.fixture(params=["postgres", pytest.param("supabase", marks=pytest.mark.slow)])
def catalog(
    request: pytest.FixtureRequest, postgres_server: EmbeddedPostgres, postgres_dsn: str
) -> Iterator[FullCatalog]:
    """The catalogue over a PostgreSQL connection and over Supabase's API."""
    if request.param == "postgres":
        with closing(connected(postgres_dsn, max_connections=16)) as catalog:
            yield catalog
        return
    with PostgrestServer(postgres_server.dsn(MIGRATED)).running() as server:
        transport = SupabaseTransport(server.url, make_key("service_role"), retry_pause_seconds=0.01)
        with closing(FullCatalog(transport)) as catalog:
            yield catalog


def stored(line: Line, video_id: str) -> dict[int, list[Caption]]:
    captions = read_captions(line.store.get(line.keys(video_id).captions_db))
    return {zone: [c for c in captions if c.zone == zone] for zone in (0, 1)}


def run(line: Line, job: str, video_id: str) -> None:
    result = line.run(job, video_id)
    assert result.success, failure(result)
    assert all(checks(result).values()), checks(result)


@pytest.mark.slow
def test_two_zones_end_to_end_with_a_correction_that_survives(line: Line, two_zone_clip: Path):
    video_id = line.upload(two_zone_clip).video_id
    run(line, "layout", video_id)
    (zone,) = line.row(video_id).caption_zones
    assert zone.zone_index == 1 and zone.crop_region.crop_bottom < 0.3
    run(line, "captions", video_id)

    found = stored(line, video_id)
    for captions, truth in ((found[0], BELOW), (found[1], ABOVE)):
        assert [c.ocr_text for c in captions] == [text for _, _, text in truth]
        for caption, (start, end, _) in zip(captions, truth, strict=True):
            assert caption.start_seconds == pytest.approx(start, abs=0.1)
            assert caption.end_seconds == pytest.approx(end, abs=0.1)
    keys = line.keys(video_id)
    srt, vtt = line.store.get(keys.srt).decode(), line.store.get(keys.vtt).decode()
    assert srt.count("{\\an8}") == len(ABOVE) and f"{{\\an8}}{ABOVE[0][2]}" in srt
    assert vtt.count(f" line:{zone.crop_region.crop_top:.0%}\n") == len(ABOVE)

    corrected = replace(found[1][1], text="Gulls above the harbour", state="confirmed", pending=False)
    others = [c for c in (*found[0], *found[1]) if c.id != corrected.id]
    line.store.put(keys.captions_db, write_captions([*others, corrected]), "application/gzip")
    run(line, "captions", video_id)
    again = stored(line, video_id)
    assert again[1][1] == replace(corrected, updated_at=again[1][1].updated_at)
    assert [c.best_text for c in again[1]] == [
        ABOVE[0][2],
        "Gulls above the harbour",
        ABOVE[2][2],
        ABOVE[3][2],
    ]
    assert [c.best_text for c in again[0]] == [text for _, _, text in BELOW]
    assert "{\\an8}Gulls above the harbour" in line.store.get(keys.srt).decode()
    versions = line.catalog.list_cropped_frames_versions(video_id)
    assert [(v.status, v.caption_zones) for v in versions] == [("archived", (zone,)), ("active", (zone,))]


def test_one_zone_adds_no_key_and_no_column(line: Line, finished: VideoRow):
    assert finished.caption_zones == ()
    assert not [key for key in line.stored(finished.video_id) if "zone" in key]
    keys = line.keys(finished.video_id)
    with read_database(line.store.get(keys.captions_db), SCHEMA_VERSION) as connection:
        assert "zone" not in [row["name"] for row in connection.execute("PRAGMA table_info(captions)")]
    assert "{" not in line.store.get(keys.srt).decode()
    assert "line:" not in line.store.get(keys.vtt).decode()
