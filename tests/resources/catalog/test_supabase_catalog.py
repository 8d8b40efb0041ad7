"""Contract: a wrong set-up is explained, lost requests are repeated, keys stay hidden."""

import logging
import pickle
import time

import pytest

from captionacc_dagster.constants import LOCAL_TENANT_ID
from captionacc_dagster.resources import opening
from captionacc_dagster.resources.catalog import CatalogError, CatalogUnavailableError, LockHeldError
from captionacc_dagster.resources.catalog.supabase import SupabaseTransport
from captionacc_dagster.settings import Settings, SettingsError
from tests.full_catalog import FullCatalog
from tests.postgrest.server import PostgrestServer, make_key

SERVICE_KEY = make_key("service_role")


@pytest.fixture
def catalog(supabase_catalog: FullCatalog) -> FullCatalog:
    return supabase_catalog


@pytest.fixture
def make_catalog(postgrest: PostgrestServer, postgres_dsn: str):
    """A catalogue with something changed. Pauses are short, so that four attempts fit a test."""
    made = []

    def make(**changes) -> FullCatalog:
        arguments = {"url": postgrest.url, "key": SERVICE_KEY, "retry_pause_seconds": 0.01, **changes}
        made.append(FullCatalog(SupabaseTransport(arguments.pop("url"), arguments.pop("key"), **arguments)))
        return made[-1]

    yield make
    postgrest.fail_next.clear()
    for catalog in made:
        catalog.close()


class TestSettingUp:
    @pytest.mark.parametrize("url", ["", "abc.supabase.co", "ftp://x", "https://", "https://ann:pw@x.co"])
    def test_an_invalid_url_is_refused_without_being_shown(self, make_catalog, url):
        with pytest.raises(CatalogError, match="SUPABASE_URL should look like") as refused:
            make_catalog(url=url)
        assert "pw" not in str(refused.value)

    def test_a_host_that_does_not_answer_is_retryable_and_takes_seconds_at_most(self, make_catalog):
        started = time.monotonic()
        with pytest.raises(CatalogUnavailableError, match=r"127\.0\.0\.1:9 cannot be reached") as refused:
            make_catalog(url="http://127.0.0.1:9").list_videos()
        assert refused.value.retryable
        assert time.monotonic() - started < 5

    def test_the_error_for_another_server_says_to_check_the_url(self, make_catalog, postgrest):
        with pytest.raises(CatalogError, match="does not answer as a Supabase project does"):
            make_catalog(url=f"{postgrest.url}/somewhere").list_videos()
        postgrest.fail_next.append((200, "<html>parked</html>"))
        with pytest.raises(CatalogError, match="does not answer as a Supabase project does"):
            make_catalog().list_videos()

    def test_a_key_of_another_project_is_explained(self, make_catalog):
        catalog = make_catalog(key=make_key("service_role", secret="another secret " * 3))
        with pytest.raises(CatalogError, match=r"does not take the key.*SUPABASE_SERVICE_ROLE_KEY"):
            catalog.list_videos()

    @pytest.mark.parametrize(
        "key", ["", "two words", make_key("anon"), make_key("authenticated", LOCAL_TENANT_ID), "a.b.c"]
    )
    def test_a_key_that_cannot_be_the_service_key_is_refused_at_once(self, make_catalog, key):
        with pytest.raises(CatalogError, match="SUPABASE_SERVICE_ROLE_KEY") as refused:
            make_catalog(key=key)
        assert not key or key not in str(refused.value)

    def test_a_key_without_rights_is_explained(self, make_catalog):
        with pytest.raises(CatalogError, match=r"may not do this.*service-role key"):
            make_catalog(key=make_key("pg_monitor")).list_locks()

    def test_a_schema_that_is_not_exposed_is_explained(self, make_catalog):
        with pytest.raises(
            CatalogError, match=r"does not expose the schema 'captionacc_prod'.*CAPTIONACC_SCHEMA"
        ):
            make_catalog(schema="captionacc_prod").list_videos()

    def test_the_error_for_a_project_without_the_catalogue_says_what_to_do(self, postgres_server, empty_dsn):
        with PostgrestServer(empty_dsn).running() as server:
            import psycopg

            with psycopg.connect(empty_dsn, autocommit=True) as connection:
                connection.execute(
                    "create schema captionacc; grant usage on schema captionacc to service_role"
                )
            catalog = FullCatalog(SupabaseTransport(server.url, SERVICE_KEY))
            with pytest.raises(CatalogError, match="captionacc migrate"):
                catalog.list_videos()
            with pytest.raises(CatalogError, match="captionacc migrate"):
                catalog.claim_new_videos()
            catalog.close()


class TestDisturbances:
    def test_a_read_is_repeated(self, make_catalog, postgrest, tenant):
        catalog = make_catalog()
        postgrest.fail_next += [(502, "<html>bad gateway</html>"), None, (503, "")]
        assert catalog.get_tenant(tenant.tenant_id) == tenant

    def test_a_repeatable_change_with_a_lost_answer_is_repeated(self, make_catalog, postgrest, videos):
        catalog, video = make_catalog(), videos.uploaded()
        postgrest.fail_next += [None]
        assert catalog.begin_stage(video.video_id, "layout", "run").layout.run_id == "run"

    def test_a_claim_whose_answer_was_lost_is_not_repeated_and_not_lost(
        self, make_catalog, postgrest, videos
    ):
        catalog, video = make_catalog(), videos.uploaded()
        postgrest.fail_next += [None]
        with pytest.raises(CatalogUnavailableError, match="broke off"):
            catalog.claim_new_videos()
        assert catalog.claim_new_videos() == []
        (again,) = catalog.claim_new_videos(restart_after_seconds=0)
        assert (again.video_id, again.layout.attempts) == (video.video_id, 1)

    def test_a_claim_that_was_certainly_not_carried_out_is_repeated(self, make_catalog, postgrest, videos):
        catalog, video = make_catalog(), videos.uploaded()
        refused = '{"code":"PGRST001","message":"no connection","details":null,"hint":null}'
        postgrest.fail_next += [(503, refused), (429, "slow down"), (503, "")]
        assert [row.video_id for row in catalog.claim_new_videos()] == [video.video_id]

    def test_after_four_attempts_it_is_an_error_to_try_again_later(self, make_catalog, postgrest):
        postgrest.fail_next += [(503, "down")] * 4
        postgrest.requests.clear()
        with pytest.raises(CatalogUnavailableError, match="is disturbed") as refused:
            make_catalog().list_videos()
        assert refused.value.retryable
        assert len(postgrest.requests) == 4

    def test_a_refusal_by_the_catalogue_is_not_repeated(self, make_catalog, postgrest, videos):
        catalog, video = make_catalog(), videos.uploaded()
        catalog.take_lock(video.video_id, "layout", "ann", 60)
        postgrest.requests.clear()
        with pytest.raises(LockHeldError):
            catalog.take_lock(video.video_id, "layout", "bob", 60)
        assert len(postgrest.requests) == 1

    def test_an_answer_that_takes_too_long_ends_the_wait(self, make_catalog, videos, database):
        catalog, video = make_catalog(timeout_seconds=0.3), videos.uploaded()
        with database.transaction():
            database.execute("select from captionacc.videos where id = %s for update", [video.video_id])
            with pytest.raises(CatalogUnavailableError, match=r"did not answer within 0\.3 s"):
                catalog.retry_stage(video.video_id, "layout")


class TestPages:
    def test_more_rows_than_one_page_of_the_api_are_all_returned(self, make_catalog, videos, monkeypatch):
        from captionacc_dagster.resources.catalog import supabase as supabase_catalog

        monkeypatch.setattr(supabase_catalog, "_MAX_ROWS", 3)
        made = [videos.uploaded().video_id for _ in range(7)]
        catalog = make_catalog()
        assert [video.video_id for video in catalog.list_videos(100)] == made[::-1]
        assert [video.video_id for video in catalog.list_videos(5)] == made[:1:-1]
        # And no claim is larger than an answer.
        assert len(catalog.claim_new_videos(100)) == 3


class TestSecrets:
    def test_the_key_is_never_shown(self, make_catalog, postgrest, caplog, tenant):
        caplog.set_level(logging.DEBUG)
        catalog = make_catalog()
        assert catalog.get_tenant(tenant.tenant_id) == tenant
        postgrest.fail_next += [(400, f'{{"code":"X","message":"with {SERVICE_KEY} in it"}}')]
        with pytest.raises(CatalogError, match=r"with \*\*\* in it") as refused:
            catalog.list_videos()
        assert SERVICE_KEY not in f"{catalog!r} {refused.value!r} {caplog.text} {vars(refused.value)}"
        assert refused.value.__suppress_context__
        with pytest.raises(TypeError):
            pickle.dumps(catalog)


class TestChoosing:
    def test_a_project_in_the_settings_is_used_as_the_catalogue(self, postgrest, tenant):
        settings = Settings(
            SUPABASE_URL=postgrest.url, SUPABASE_SERVICE_ROLE_KEY=SERVICE_KEY, CAPTIONACC_SCHEMA="captionacc"
        )
        catalog = opening.open_catalog(settings)
        assert catalog.get_tenant(tenant.tenant_id) == tenant
        assert opening.open_catalog(settings) is catalog
        assert SERVICE_KEY not in repr(settings)
        with pytest.raises(SettingsError, match="CAPTIONACC_DATABASE_URL"):
            opening.database_dsn(settings)
        catalog.close()

    def test_a_project_without_its_key_is_refused(self):
        with pytest.raises(SettingsError, match="SUPABASE_SERVICE_ROLE_KEY"):
            opening.open_catalog(Settings(SUPABASE_URL="https://x.supabase.co"))
