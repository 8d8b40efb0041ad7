"""Copies between two stores: by the S3 service itself inside one bucket, through this machine otherwise."""

import tempfile
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

import obstore

from modal_gpu.errors import StorageAccessError
from modal_gpu.storage import ObjectInfo, ObjectStore

#: S3's limit of ``CopyObject``.
MOST_BYTES = 5 * 10**9
#: Smaller objects are copied through memory, larger ones through a temporary file.
_IN_MEMORY = 8 * 2**20


class Copier:
    """Copies objects of ``source`` into ``target``. Thread-safe. ``source`` is only read."""

    def __init__(self, source: ObjectStore, target: ObjectStore) -> None:
        self._source, self._target = source, target

    def copy(self, info: ObjectInfo, key: str, content_type: str) -> None:
        """Copy an object to ``key``, where it appears completely or not at all.

        Raises :class:`~modal_gpu.errors.StorageError`.
        """
        if self.is_inside_bucket and info.size <= MOST_BYTES and self._by_service(info, key):
            return
        if info.size <= _IN_MEMORY:
            self._target.put(key, self._source.get(info.key), content_type)
            return
        with tempfile.TemporaryDirectory(prefix="captionacc-") as folder:
            path = Path(folder) / "object"
            self._source.download(info.key, path)
            self._target.upload(path, key, content_type)

    @cached_property
    def is_inside_bucket(self) -> bool:
        """True if both stores are in one bucket of one S3 service."""
        places = [
            (url.scheme, url.netloc, store.settings.endpoint)
            for store in (self._source, self._target)
            for url in [urlsplit(store.settings.url)]
        ]
        return places[0] == places[1] and places[0][0] == "s3"

    @cached_property
    def _bucket(self) -> ObjectStore:
        bucket = urlsplit(self._target.settings.url).netloc
        return ObjectStore(replace(self._target.settings, url=f"s3://{bucket}"))

    def _by_service(self, info: ObjectInfo, key: str) -> bool:
        """Return whether the service copied it; not if the target's keys may not read the source."""
        names = [
            "/".join(part for part in (urlsplit(store.settings.url).path.strip("/"), name) if part)
            for store, name in ((self._source, info.key), (self._target, key))
        ]
        try:
            with self._bucket._errors("copy", info.key):
                obstore.copy(self._bucket._store, *names)
        except StorageAccessError:
            return False
        return True
