"""Keys cannot leave their tenant, and are spelled as the clients know them."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modal_gpu.errors import InvalidIdError
from modal_gpu.frame_index import ChunkRef, chunks
from modal_gpu.keys import VideoKeys, canonical_uuid
from modal_gpu.storage import check_key

T, V = "0a9f5e0e-7a4a-4f6e-9a0b-1f1f0a6b7c8d", "123e4567-e89b-12d3-a456-426614174000"
KEYS = VideoKeys(T, V)


def test_every_key_is_spelled_as_clients_know_it() -> None:
    client, server = f"{T}/client/videos/{V}", f"{T}/server/videos/{V}"
    assert KEYS.video == f"{client}/video.mp4"
    assert KEYS.full_frame(100) == f"{client}/full_frames/frame_000100.jpg"
    assert KEYS.full_frame(1234567) == f"{client}/full_frames/frame_1234567.jpg"
    assert KEYS.thumbnail(0) == f"{client}/full_frames_thumbnails/frame_000000.jpg"
    assert KEYS.raw_ocr_db == f"{server}/raw-ocr.db.gz"
    assert KEYS.layout_db == f"{client}/layout.db.gz"
    assert KEYS.caption_text_part(3, 0, 10, 25) == (
        f"{server}/caption_texts.parts/v3.zone_0.0000000010-0000000025.json"
    )
    assert KEYS.captions_db == f"{client}/captions.db.gz"
    assert KEYS.chunk(3, ChunkRef(4, 172)) == f"{client}/cropped_frames_v3/modulo_4/chunk_0000000172.webm"
    assert KEYS.caption_frame_extents_db(3) == f"{server}/caption_frame_extents_v3.db.gz"
    assert (KEYS.srt, KEYS.vtt) == (f"{client}/captions.srt", f"{client}/captions.vtt")
    assert (KEYS.client_prefix, KEYS.server_prefix) == (f"{client}/", f"{server}/")


def test_a_further_zone_adds_its_number_and_zone_0_none() -> None:
    client, server = f"{T}/client/videos/{V}", f"{T}/server/videos/{V}"
    chunk = ChunkRef(4, 172)
    assert KEYS.chunk(3, chunk, 2) == f"{client}/cropped_frames_v3/zone_2/modulo_4/chunk_0000000172.webm"
    assert KEYS.caption_frame_extents_db(3, 2) == f"{server}/caption_frame_extents_v3.zone_2.db.gz"
    parts = f"{server}/caption_frame_extents_v3.zone_2.parts/"
    assert KEYS.caption_frame_extents_part(3, 512, 2) == f"{parts}0000000512.db.gz"
    assert KEYS.chunk(3, chunk, 0) == KEYS.chunk(3, chunk)
    assert KEYS.caption_frame_extents_db(3, 0) == KEYS.caption_frame_extents_db(3)
    with pytest.raises(ValueError, match="negative"):
        KEYS.chunk(3, chunk, -1)


zones = st.integers(0, 12)
versions = st.integers(1, 30)


@given(st.sets(st.tuples(versions, zones), min_size=2, max_size=2))
def test_no_two_zones_of_any_versions_share_a_key(places: set[tuple[int, int]]) -> None:
    first, second = (
        {
            *(KEYS.chunk(version, chunk, zone) for chunk in chunks(600)),
            KEYS.caption_frame_extents_db(version, zone),
            KEYS.caption_frame_extents_part(version, 0, zone),
            KEYS.caption_frame_extents_part(version, 512, zone),
        }
        for version, zone in places
    )
    assert not first & second


@given(versions, versions, zones)
def test_a_versions_prefix_holds_the_chunks_of_its_zones_and_of_no_other_version(
    version: int, other: int, zone: int
) -> None:
    key = KEYS.chunk(version, ChunkRef(16, 0), zone)
    assert key.startswith(KEYS.cropped_frames_prefix(other)) == (version == other)


def all_keys(keys: VideoKeys) -> list[str]:
    return [
        *(keys.video, keys.raw_ocr_db, keys.layout_db, keys.captions_db, keys.srt, keys.vtt),
        *(keys.full_frame(7), keys.thumbnail(7), keys.caption_frame_extents_db(1)),
        *(keys.chunk(1, chunk) for chunk in chunks(600)),
    ]


@given(st.uuids(), st.uuids())
def test_all_keys_are_distinct_valid_and_under_their_tenant(tenant: uuid.UUID, video: uuid.UUID) -> None:
    keys = VideoKeys(str(tenant), str(video))
    spelled = all_keys(keys)
    assert len(set(spelled)) == len(spelled)
    for key in spelled:
        assert check_key(key).startswith((keys.client_prefix, keys.server_prefix))
        assert key.startswith(f"{tenant}/")


@given(st.uuids())
def test_ids_are_taken_in_upper_case_and_as_uuid_and_written_in_lower_case(value: uuid.UUID) -> None:
    assert canonical_uuid(str(value).upper()) == canonical_uuid(value) == str(value)


NOT_IDS = [
    "",
    "..",
    "../../etc/passwd",
    f"{V}/..",
    f"{V}\n",
    f" {V}",
    f"{{{V}}}",
    f"urn:uuid:{V}",
    V.replace("-", ""),
    V.replace("1", "１"),
    V[:-1],
    "x" * 10_000,
    None,
    7,
]


@pytest.mark.parametrize("value", NOT_IDS, ids=lambda value: repr(value)[:20])
def test_only_uuids_are_ids(value: str) -> None:
    for make in (lambda: VideoKeys(value, V), lambda: VideoKeys(T, value)):
        with pytest.raises(InvalidIdError, match="is not a UUID") as caught:
            make()
        assert len(str(caught.value)) < 250


@given(st.text())
def test_only_the_text_of_a_uuid_is_an_id(text: str) -> None:
    with pytest.raises(InvalidIdError):
        canonical_uuid(text)


@pytest.mark.parametrize(
    "call",
    [
        lambda: KEYS.full_frame(-1),
        lambda: KEYS.thumbnail(-1),
        lambda: KEYS.cropped_frames_prefix(0),
        lambda: KEYS.caption_frame_extents_db(-1),
    ],
)
def test_negative_indices_and_versions_below_one_have_no_key(call) -> None:
    with pytest.raises(ValueError):
        call()


def test_keys_cannot_be_changed_after_their_check() -> None:
    with pytest.raises(AttributeError):
        KEYS.tenant_id = ".."  # type: ignore[misc]
