"""Input of the catalogue: names of videos, storage keys, files that were uploaded before."""

import uuid
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from captionacc_dagster.resources.catalog import InvalidArgumentError, VideoDeletedError, WrongStateError
from modal_gpu.errors import InvalidKeyError
from modal_gpu.keys import MAX_KEY_BYTES, check_key
from tests.full_catalog import FullCatalog

SHA, OTHER_SHA = "a" * 64, "b" * 64
OTHER_TENANT = "22222222-2222-4222-8222-222222222222"
UNKNOWN = "11111111-1111-4111-8111-111111111111"

#: Names of files, and how they are stored and shown.
NAMES = {
    "plain": ("holiday.mp4", "holiday.mp4"),
    "not UTF-8": ("caf\udce9.mp4", "caf\ufffd.mp4"),
    "a line feed": ("a\nb.mp4", "a\ufffdb.mp4"),
    "an escape sequence": ("\x1b[31mred\x07.mp4", "\ufffd[31mred\ufffd.mp4"),
    "C1 control": ("a\x9bb.mp4", "a\ufffdb.mp4"),
    "line separator": ("a\u2028b\u2029.mp4", "a\ufffdb\ufffd.mp4"),
    "bidirectional override": ("\u202e4pm.exe\u2066", "\ufffd4pm.exe\ufffd"),
    "decomposed, as macOS has it": ("cafe\u0301.mp4", "caf\u00e9.mp4"),
    "Hangul in parts": ("\u1112\u1161\u11ab.mp4", "\ud55c.mp4"),
    "right to left": ("\u05e9\u05dc\u05d5\u05dd\u200f.mp4", "\u05e9\u05dc\u05d5\u05dd\u200f.mp4"),
    "joined emoji": ("\U0001f468\u200d\U0001f469.mp4", "\U0001f468\u200d\U0001f469.mp4"),
    "markup": ("[red]a[/x].mp4", "[red]a[/x].mp4"),
    "leading dash": ("-rf.mp4", "-rf.mp4"),
    "a path": ("talks/../2024/a.mp4", "talks/../2024/a.mp4"),
    "quotes and commas": ("a'b\",(c).mp4", "a'b\",(c).mp4"),
    "backslash": ("a\\b.mp4", "a\\b.mp4"),
    "255 bytes": ("x" * 251 + ".mp4", "x" * 251 + ".mp4"),
    "1024 wide characters": ("\u5b57" * 1024, "\u5b57" * 1024),
}
each_name = pytest.mark.parametrize(("given", "kept"), NAMES.values(), ids=NAMES)


class TestNames:
    @each_name
    def test_a_name_is_kept_clean_and_found_as_it_was_given(self, catalog, videos, given: str, kept: str):
        video = videos.uploaded(display_path=given)
        assert video.display_path == kept
        for name in (given, kept):
            assert [found.video_id for found in catalog.find_videos(name)] == [video.video_id]

    @each_name
    def test_renaming_follows_the_same_rules(self, catalog, videos, database, given: str, kept: str):
        video_id = videos.uploaded(display_path="before.mp4").video_id
        assert catalog.rename_video(video_id, given).display_path == kept
        assert catalog.rename_video(video_id, given).display_path == kept
        assert catalog.find_videos("before.mp4") == []
        audited = database.execute(
            "select action, details from captionacc.security_audit_log where video_id = %s", [video_id]
        ).fetchall()
        assert audited == [("rename_video", {"from": "before.mp4", "to": kept})]

    @pytest.mark.parametrize("name", ["", "  ", "x" * 1025])
    def test_an_empty_name_is_refused(self, catalog, videos, name: str):
        video = videos.uploaded()
        with pytest.raises(InvalidArgumentError):
            catalog.rename_video(video.video_id, name)
        assert catalog.get_video(video.video_id) == video

    def test_a_deleted_video_is_not_renamed(self, catalog, videos):
        video_id = videos.uploaded().video_id
        catalog.soft_delete_video(video_id)
        with pytest.raises(VideoDeletedError):
            catalog.rename_video(video_id, "other.mp4")

    def test_what_the_service_role_writes_directly_is_cleaned_too(self, videos, database):
        video_id = videos.uploaded().video_id
        written = database.execute(
            "update captionacc.videos set display_path = %s where id = %s returning display_path",
            ["a\nb\u202e", video_id],
        ).fetchone()
        assert written == ("a\ufffdb\ufffd",)


class TestFinding:
    def test_the_newest_of_a_name_comes_first_and_deleted_ones_not_at_all(self, catalog, videos):
        made = [videos.uploaded().video_id for _ in range(4)]
        catalog.soft_delete_video(made[2])
        assert [row.video_id for row in catalog.find_videos("holiday.mp4")] == [made[3], made[1], made[0]]
        assert [row.video_id for row in catalog.find_videos("holiday.mp4", limit=1)] == [made[3]]

    @pytest.mark.parametrize("length", [1, 7, 8, 9, 13, 35, 36])
    def test_an_id_is_found_by_its_start(self, catalog, tenant, length: int):
        for digit in "0f":
            video_id = digit * 8 + "-1111-4111-8111-111111111111"
            catalog.register_video(
                tenant.tenant_id, video_id, f"{tenant.tenant_id}/{video_id}", 1, f"{digit}.mp4"
            )
        for digit in "0f":
            video_id = digit * 8 + "-1111-4111-8111-111111111111"
            for start in (video_id[:length], video_id[:length].upper()):
                assert [row.video_id for row in catalog.find_videos(start)] == [video_id]

    @pytest.mark.parametrize(
        "name", ["", "-", "----", "f" * 33, "0" * 36, "ffffffff1111", "%", "a_b", "holiday", "x" * 5000, "\0"]
    )
    def test_an_unknown_name_and_an_unknown_start_find_nothing(self, catalog, tenant, name: str):
        video_id = "ffffffff-1111-4111-8111-111111111111"
        catalog.register_video(tenant.tenant_id, video_id, f"{tenant.tenant_id}/a", 1, "holiday.mp4")
        assert catalog.find_videos(name) == []


GOOD_KEYS = [
    "{tenant}/client/videos/v/video.mp4",
    "{tenant}/a b/\u00e9\u5b57\u3000.mp4",
    "{tenant}/...",
    "{tenant}/" + "x" * (MAX_KEY_BYTES - 37),
]
BAD_KEYS = [
    "",
    "a.mp4",
    f"{OTHER_TENANT}/a.mp4",
    "{tenant}",
    "{tenant}/",
    "{tenant}/../x/a.mp4",
    "{tenant}//a.mp4",
    "{tenant}/./a",
    "{tenant}/a/..",
    "{tenant}/a\\b",
    "{tenant}/..\\..\\b",
    "{tenant}/a\nb",
    "{tenant}/a\x7f",
    "{tenant}/a\x85",
    "{tenant}/a\u2028",
    "{tenant}/a\u202e",
    "{tenant}/" + "x" * (MAX_KEY_BYTES - 36),
    "{tenant}/" + "\u5b57" * 300,
    "{tenant}/" + "x" * 5000,
]


class TestStorageKeys:
    @pytest.mark.parametrize("key", GOOD_KEYS, ids=lambda key: repr(key[:30]))
    def test_a_key_in_the_tenants_prefix_is_taken(self, videos, tenant, key: str):
        key = key.format(tenant=tenant.tenant_id)
        assert videos.uploaded(storage_key=key).storage_key == check_key(key) == key

    @pytest.mark.parametrize("key", BAD_KEYS, ids=lambda key: repr(key[:60]))
    def test_any_other_key_is_refused_by_every_function(self, catalog, videos, tenant, database, key: str):
        key = key.format(tenant=tenant.tenant_id)
        with pytest.raises((InvalidArgumentError, InvalidKeyError)) as refused:
            videos.uploaded(storage_key=key)
        assert "\n" not in str(refused.value) and len(str(refused.value)) < 500
        video = videos.with_captions()
        for statement in (
            "select captionacc.register_video(%(tenant)s, gen_random_uuid(), %(key)s, 1, 'a')",
            "update captionacc.videos set storage_key = %(key)s where id = %(id)s",
            "insert into captionacc.videos (id, tenant_id, display_path, storage_key, size_bytes)"
            " values (gen_random_uuid(), %(tenant)s, 'a', %(key)s, 1)",
            "insert into captionacc.caption_frame_extents_inference_runs (video_id, cropped_frames_version,"
            " tenant_id, run_id, model_version, storage_key, total_pairs, processing_time_seconds,"
            " started_at, completed_at)"
            " values (%(id)s, 1, %(tenant)s, 'r', 'm', %(key)s, 1, 1, now(), now())",
        ):
            with pytest.raises(psycopg.Error) as error:
                database.execute(statement, {"key": key, "tenant": tenant.tenant_id, "id": video.video_id})
            assert error.value.sqlstate == "CA010"
            assert "prefix" in error.value.diag.message_primary
            assert "\n" not in error.value.diag.message_primary

    def test_a_row_from_before_the_rule_can_still_end_and_be_deleted(self, catalog, videos, database):
        video_id = videos.uploaded().video_id
        with database.transaction():
            database.execute("set local session_replication_role = replica")
            database.execute(
                "update captionacc.videos set storage_key = storage_key || E'\\n' where id = %s", [video_id]
            )
        assert catalog.fail_stage(video_id, "layout", "run", "no such key").layout.status == "error"
        assert catalog.soft_delete_video(video_id).deleted_at is not None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rest=st.text(max_size=12) | st.text("a/.\\\n \u202e\u00a0", max_size=12))
def test_python_and_sql_have_one_rule_for_keys(postgres_dsn: str, rest: str):
    key = f"{UNKNOWN}/{rest}"
    try:
        is_key = check_key(key) == key
    except InvalidKeyError:
        is_key = False
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in key):
        assert not is_key  # and no database takes it
        return
    with psycopg.connect(postgres_dsn) as connection:
        (found,) = connection.execute("select captionacc.is_storage_key(%s, %s)", [key, UNKNOWN]).fetchone()
    assert found == is_key


class TestContent:
    def test_a_file_is_known_by_its_content(self, catalog, videos, tenant):
        assert catalog.find_content(tenant.tenant_id, SHA) is None
        first = videos.uploaded(content_sha256=SHA)
        assert first.content_sha256 == SHA
        assert catalog.find_content(tenant.tenant_id, SHA) == first
        assert catalog.find_content(tenant.tenant_id, OTHER_SHA) is None
        assert videos.uploaded(content_sha256=SHA, display_path="copy.mp4") == first
        assert len(catalog.list_videos()) == 1

    def test_it_is_accepted_again_on_request_and_from_other_tenants(self, catalog, videos, tenant):
        first = videos.uploaded(content_sha256=SHA)
        again = videos.uploaded(content_sha256=SHA, again=True)
        assert again.video_id != first.video_id
        assert catalog.find_content(tenant.tenant_id, SHA) == again
        catalog.ensure_tenant(OTHER_TENANT, "other")
        assert catalog.find_content(OTHER_TENANT, SHA) is None
        other = catalog.register_video(
            OTHER_TENANT, str(uuid.uuid4()), f"{OTHER_TENANT}/a", 1, "a", content_sha256=SHA
        )
        assert other.tenant_id == OTHER_TENANT

    def test_repeating_a_registration_whose_answer_was_lost_gives_the_same_row(self, catalog, tenant):
        video_id = str(uuid.uuid4())

        def register(**options):
            return catalog.register_video(
                tenant.tenant_id, video_id, f"{tenant.tenant_id}/a", 1, "a", content_sha256=SHA, **options
            )

        assert register().video_id == register().video_id == register(again=True).video_id == video_id

    def test_a_deleted_video_does_not_count_and_a_failed_one_comes_last(self, catalog, videos, tenant):
        good = videos.uploaded(content_sha256=SHA)
        failed = videos.uploaded(content_sha256=SHA, again=True)
        catalog.fail_stage(failed.video_id, "layout", "run", "why")
        assert catalog.find_content(tenant.tenant_id, SHA).video_id == good.video_id
        catalog.soft_delete_video(good.video_id)
        assert catalog.find_content(tenant.tenant_id, SHA).video_id == failed.video_id
        catalog.soft_delete_video(failed.video_id)
        assert catalog.find_content(tenant.tenant_id, SHA) is None

    @pytest.mark.parametrize("sha", ["", "abc", "A" * 64, "g" * 64, "a" * 65, f"{'a' * 64}\n"])
    def test_an_invalid_hash_is_refused(self, catalog, videos, tenant, sha: str):
        with pytest.raises(InvalidArgumentError, match="SHA-256"):
            catalog.find_content(tenant.tenant_id, sha)
        with pytest.raises(InvalidArgumentError, match="SHA-256"):
            videos.uploaded(content_sha256=sha)

    def test_one_of_several_simultaneous_uploads_is_kept(self, postgres_catalog: FullCatalog, tenant):
        def register(_: int):
            video_id = str(uuid.uuid4())
            return postgres_catalog.register_video(
                tenant.tenant_id, video_id, f"{tenant.tenant_id}/{video_id}", 1, "a", content_sha256=SHA
            )

        with ThreadPoolExecutor(8) as pool:
            rows = list(pool.map(register, range(16)))
        assert len({row.video_id for row in rows}) == 1
        assert len(postgres_catalog.list_videos()) == 1


def test_a_deletion_is_audited_once_and_ends_the_run(catalog, videos, database):
    video_id = videos.cropping().video_id
    catalog.soft_delete_video(video_id)
    catalog.soft_delete_video(video_id)
    audited = database.execute(
        "select details from captionacc.security_audit_log where video_id = %s and action = 'delete_video'",
        [video_id],
    ).fetchall()
    assert audited == [({"name": "holiday.mp4"},)]
    assert [pending.run_id for pending in catalog.pending_run_cancellations()] == ["crop-run"]
    with pytest.raises((WrongStateError, VideoDeletedError)):
        catalog.begin_stage(video_id, "boundaries", "crop-run")


def test_a_partition_key_is_set_once_and_before_a_run_begins(catalog: FullCatalog, videos):
    first, begun = videos.uploaded(), videos.uploaded()
    catalog.begin_stage(begun.video_id, "layout", "run-1")
    wanted = {row.video_id: f"{name}~{row.video_id}" for row, name in ((first, "a"), (begun, "b"))}
    keys = {row.video_id: row.partition_key for row in catalog.set_partition_keys(wanted)}
    assert keys == {first.video_id: f"a~{first.video_id}", begun.video_id: begun.video_id}
    (row,) = catalog.set_partition_keys({first.video_id: f"other~{first.video_id}"})
    assert row.partition_key == f"a~{first.video_id}"
    assert catalog.rename_video(first.video_id, "new.mp4").partition_key == f"a~{first.video_id}"
    assert catalog.set_partition_keys({}) == catalog.set_partition_keys({UNKNOWN: UNKNOWN}) == []


@pytest.mark.parametrize("key", ["a~", f"a~{UNKNOWN}", "a{id}", "x" * 61 + "~{id}", "a~{id}~"])
def test_a_partition_key_without_the_videos_id_is_refused(catalog: FullCatalog, videos, key: str):
    video_id = videos.uploaded().video_id
    with pytest.raises(InvalidArgumentError, match="id"):
        catalog.set_partition_keys({video_id: key.replace("{id}", video_id)})
    assert catalog.get_video(video_id).partition_key == video_id


class TestLanguages:
    def test_a_videos_languages_are_stored_and_audited(self, catalog, videos, database):
        video = videos.uploaded()
        assert video.ocr_languages == []
        for _ in range(2):
            assert catalog.set_video_languages(video.video_id, ["ko", "zh-Hant"]).ocr_languages == [
                "ko",
                "zh-Hant",
            ]
        audited = database.execute(
            "select action, details from captionacc.security_audit_log where video_id = %s", [video.video_id]
        ).fetchall()
        assert audited == [("set_video_languages", {"from": [], "to": ["ko", "zh-Hant"]})]
        assert catalog.set_video_languages(video.video_id, []).ocr_languages == []

    def test_a_tenants_languages_are_stored(self, catalog, tenant):
        assert tenant.ocr_languages == []
        catalog.set_tenant_languages(tenant.tenant_id, ["th", "de-x-north"])
        assert catalog.get_tenant(tenant.tenant_id).ocr_languages == ["th", "de-x-north"]

    @pytest.mark.parametrize(
        "languages", [["english"], ["ko", "../x"], [""], ["en" + "-variants" * 4], ["en"] * 9]
    )
    def test_what_is_no_list_of_tags_is_refused(self, catalog, videos, tenant, languages):
        video = videos.uploaded()
        with pytest.raises(InvalidArgumentError):
            catalog.set_video_languages(video.video_id, languages)
        with pytest.raises(InvalidArgumentError):
            catalog.set_tenant_languages(tenant.tenant_id, languages)
        assert catalog.get_video(video.video_id) == video
