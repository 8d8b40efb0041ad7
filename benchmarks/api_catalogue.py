"""A catalogue with many videos of many users, in the states that the API's routes need."""

import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psycopg

from benchmarks.synthetic_video import SyntheticFiles
from captionacc_dagster.resources.catalog import Catalog
from modal_gpu.keys import VideoKeys
from modal_gpu.storage import ObjectStore

#: Users of one tenant.
MEMBERS = 10
#: Of each user: videos to edit, with their files; with a proposed layout; whose layout failed; that are new;
#: the rest has been read.
KINDS = {"edited": 1, "proposed": 20, "failed": 20, "new": 20}
READ = "read"
FRAMES, CAPTIONS = 320, 31

_VIDEOS = """
insert into captionacc.videos (
    id, tenant_id, uploaded_by_user_id, display_path, storage_key, size_bytes, created_at, uploaded_at,
    duration_seconds, width, height, video_codec, frame_count,
    layout_status, layout_error_details, layout_confidence, layout_found, proposed_crop_region,
    layout_approved_at, layout_approved_by, crop_region, crop_region_version,
    boundaries_status, current_cropped_frames_version, caption_count, text_status, text_caption_count,
    accepted_at)
select
    id, tenant, member, 'recording ' || n || ' of ' || left(member::text, 8) || '.mp4',
    tenant || '/client/videos/' || id || '/video.mp4', 1000, now() - n * interval '7 minutes', now(),
    case when made then 32.0 end, case when made then 640 end, case when made then 360 end,
    case when made then 'h264' end, case when made then %(frames)s end,
    case kind when 'new' then 'wait' when 'failed' then 'error' when 'proposed' then 'annotate'
        else 'done' end,
    case when kind = 'failed' then '{"message": "no video", "error_type": "NoVideoError", "run_id": "run",
        "attempt": 1, "failed_at": "2026-11-27T00:00:00Z"}'::jsonb end,
    case when made then 0.9 end, case when made then true end,
    case when made then strip end,
    case when read then now() end, case when read then 'auto' end,
    case when read then strip end, case when read then 1 else 0 end,
    case when read then 'annotate' else 'wait' end, case when read then 1 end,
    case when read then %(captions)s end,
    case when read then 'annotate' else 'wait' end, case when read then %(captions)s end,
    case when kind <> 'new' then now() end
from (
    select gen_random_uuid() as id, u.tenant, u.member, n, k.kind,
        k.kind in ('proposed', 'edited', 'read') as made, k.kind in ('edited', 'read') as read,
        '{"crop_left": 0.1, "crop_top": 0.8, "crop_right": 0.9, "crop_bottom": 0.95}'::captionacc.crop_region
            as strip
    from unnest(%(members)s::uuid[], %(tenants)s::uuid[]) as u (member, tenant),
        generate_series(1, %(each)s) n,
        lateral (select case when n <= 1 then 'edited' when n <= 21 then 'proposed' when n <= 41 then 'failed'
            when n <= 61 then 'new' else 'read' end as kind) k
) drawn
"""
_VERSIONS = """
insert into captionacc.cropped_frames_versions (
    video_id, version, tenant_id, run_id, crop_region, crop_region_version, status, chunk_count, total_frames,
    total_size_bytes, activated_at)
select id, 1, tenant_id, 'run', crop_region, 1, 'active', 30, frame_count, 100000, now()
from captionacc.videos where current_cropped_frames_version = 1
"""


@dataclass(frozen=True)
class Member:
    """A user and their videos by kind."""

    user_id: str
    tenant_id: str
    videos: Mapping[str, Sequence[str]]


def fill(dsn: str, catalog: Catalog, store: ObjectStore, videos: int, clients: int) -> list[Member]:
    """Register the users and their videos, as many for each; store the files of those to edit."""
    each = -(-videos // clients)
    if each <= sum(KINDS.values()):
        raise ValueError(f"{clients} clients need more than {clients * sum(KINDS.values())} videos")
    users = []
    for number in range(clients):
        tenant = str(uuid.uuid5(uuid.NAMESPACE_DNS, f"tenant {number // MEMBERS}"))
        catalog.ensure_tenant(tenant, f"tenant {number // MEMBERS}")
        users.append((str(uuid.uuid5(uuid.NAMESPACE_DNS, f"user {number}")), tenant))
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "insert into captionacc.user_profiles (user_id, tenant_id, role, approval_status)"
            " select *, 'member', 'approved' from unnest(%s::uuid[], %s::uuid[])",
            [[user for user, _ in users], [tenant for _, tenant in users]],
        )
        arguments = {
            "members": [user for user, _ in users],
            "tenants": [tenant for _, tenant in users],
            "each": each,
            "frames": FRAMES,
            "captions": CAPTIONS,
        }
        connection.execute(_VIDEOS, arguments)
        connection.execute(_VERSIONS)
        connection.commit()
        connection.autocommit = True
        connection.execute("vacuum analyze")
        rows = connection.execute(
            "select uploaded_by_user_id::text, id::text, display_path from captionacc.videos"
        ).fetchall()
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for user, video, name in rows:
        found[user][_kind(int(name.split()[1]))].append(video)
    members = [Member(user, tenant, found[user]) for user, tenant in users]
    files = SyntheticFiles.made(FRAMES)
    for member in members:
        for video in (*member.videos["edited"], *member.videos["proposed"][:1]):
            files.put(store, VideoKeys(member.tenant_id, video))
        for video in (*member.videos["new"], *member.videos["failed"]):
            store.put(VideoKeys(member.tenant_id, video).video, b"no video")
    return members


def _kind(number: int) -> str:
    for kind, count in KINDS.items():
        if number <= count:
            return kind
        number -= count
    return READ
