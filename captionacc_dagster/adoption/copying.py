"""Copies of the predecessor's objects in this platform's bucket. The originals stay where they are."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from captionacc_dagster.adoption.plan import Plan
from modal_gpu.keys import VideoKeys
from modal_gpu.storage import CONCURRENCY, ObjectInfo, ObjectStore
from modal_gpu.storage_copy import Copier

_JPEG, _WEBM, _MP4 = "image/jpeg", "video/webm", "video/mp4"
#: An object of the predecessor, the key of its copy, and the copy's content type.
Copy = tuple[ObjectInfo, str, str]


def copies(plan: Plan) -> Iterator[Copy]:
    """Yield the objects that a plan takes over as they are, with their keys here."""
    keys, files = plan.video.keys, plan.files
    if files.upload is not None:
        yield files.upload, keys.video, _MP4
    if plan.layout.keeps_frames:
        yield from ((info, keys.full_frame(index), _JPEG) for index, info in files.frames.items())
        yield from ((info, keys.thumbnail(index), _JPEG) for index, info in files.thumbnails.items())
    version = plan.captions.version
    if version is not None:
        for ref, info in plan.captions.chunks.items():
            yield info, keys.chunk(version, ref), _WEBM


def copy_all(source: ObjectStore, target: ObjectStore, keys: VideoKeys, wanted: Iterable[Copy]) -> None:
    """Copy the objects that ``target`` lacks.

    One that has its size and is not older counts as its copy, so that an interrupted call goes on: objects
    appear completely or not at all.
    """
    there = {info.key: info for info in target.list(keys.client_prefix)}
    missing = [each for each in wanted if not _is_copy(there.get(each[1]), each[0])]
    copier = Copier(source, target)
    with ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="adopt") as pool:
        for _ in pool.map(lambda each: copier.copy(*each), missing):
            pass


def _is_copy(found: ObjectInfo | None, original: ObjectInfo) -> bool:
    return found is not None and found.size == original.size and found.last_modified >= original.last_modified
