"""The adoption of many videos, one after the other, each safe from an interruption of the others."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import dagster as dg

from captionacc_dagster.adoption.apply import Adopted, Adopter, unreported
from captionacc_dagster.adoption.errors import PredecessorError
from captionacc_dagster.adoption.events import report
from captionacc_dagster.adoption.plan import Plan, Planner
from captionacc_dagster.adoption.predecessor import Predecessor
from captionacc_dagster.adoption.rows import OldTenant, OldVideo
from modal_gpu.errors import InvalidIdError
from modal_gpu.storage import ObjectStore

#: Videos whose events are reported together: one query an asset finds what is reported already.
BATCH = 25


@dataclass
class Adoption:
    """Plans and adopts a predecessor's videos."""

    planner: Planner
    adopter: Adopter
    instance: dg.DagsterInstance
    #: Profiles of users that were registered.
    profiles: int = 0

    def run(self, plans: Iterable[Plan]) -> Iterator[Adopted]:
        """Adopt the videos of the plans. Each is complete in the catalogue when it is yielded.

        Events follow for some videos at a time; the next call reports those of a call that was interrupted.
        """
        seen: set[str] = set()
        for some in _batched(plans, BATCH):
            results = []
            for plan in some:
                tenant_id = plan.video.tenant_id
                if plan.verdict != "refused" and tenant_id not in seen:
                    known = self.planner.tenants.get(tenant_id) or OldTenant(tenant_id, tenant_id)
                    self.adopter.ensure_tenant(known)
                    users = self.planner.profiles.get(tenant_id, ())
                    self.profiles += self.adopter.adopt_profiles(users)
                    seen.add(tenant_id)
                results.append(self.adopter.adopt(plan))
            catalog = self.adopter.catalog
            report(self.instance, catalog, self.adopter.store, unreported(catalog, results))
            yield from results


def _batched(plans: Iterable[Plan], size: int) -> Iterator[list[Plan]]:
    some: list[Plan] = []
    for plan in plans:
        some.append(plan)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some


def check_stores(old: ObjectStore, store: ObjectStore) -> None:
    """Raise :class:`PredecessorError` if this platform's bucket is the predecessor's.

    Both have databases of other schemas under the same keys, so that this platform would overwrite its files.
    """
    if _place(old) == _place(store):
        raise PredecessorError(
            f"{store.name} is the predecessor's bucket, whose databases this platform would overwrite: set "
            "CAPTIONACC_STORAGE_URL to another bucket, or to a prefix of the same one (s3://bucket/prefix)"
        )


def _place(store: ObjectStore) -> tuple[str, str, str]:
    parts = urlsplit(store.settings.url)
    endpoint = urlsplit(store.settings.endpoint or "").netloc
    return f"{parts.scheme}://{parts.netloc}", parts.path.strip("/"), endpoint


def find_old_tenant(old: Predecessor, name: str) -> str:
    """Return the id of a tenant of the predecessor by its name, its id or the start of its id.

    Raises :class:`InvalidIdError` for none and for several.
    """
    tenants = old.tenants().values()
    found = [t for t in tenants if t.name == name or t.tenant_id.startswith(name.lower())]
    if len(found) != 1:
        listed = ", ".join(f"{t.tenant_id} ({t.name})" for t in (found or list(tenants))[:5])
        raise InvalidIdError(
            f"{len(found) or 'no'} tenants of the predecessor match {name!r}: {listed or 'it has none'}"
        )
    return found[0].tenant_id


def find_old_video(old: Predecessor, name: str) -> OldVideo:
    """Return a video of the predecessor by its id, the start of its id, or its name.

    Raises :class:`InvalidIdError` for none and for several.
    """
    try:
        videos = old.videos(video_id=name)
    except InvalidIdError:
        videos = [v for v in old.videos() if v.name == name or v.video_id.startswith(name.lower())]
    if len(videos) != 1:
        listed = ", ".join(f"{video.video_id} ({video.name})" for video in videos[:5])
        raise InvalidIdError(
            f"{len(videos) or 'no'} videos of the predecessor match {name!r}"
            + (f": {listed}" if listed else "")
        )
    return videos[0]
