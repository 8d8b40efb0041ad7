"""Object storage: a local folder or any S3 service, behind one small interface.

The URL of a local folder is ``file:///folder``; that of AWS, Wasabi, R2, MinIO and others is ``s3://bucket``
or ``s3://bucket/prefix``. Writes are atomic: a reader sees the old object or the new one. Errors name the key
and the store in one line. They never contain credentials, nor the server's reply, in which S3 servers repeat
the access key.
"""

import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from modal_gpu.errors import InvalidKeyError, ObjectNotFoundError, StorageUrlError
from modal_gpu.keys import check_key
from modal_gpu.storage_errors import checked_endpoint, is_refusal, is_storage_error, translated

if TYPE_CHECKING:
    from obstore.store import S3Config

#: Default number of concurrent requests in ``put_many`` and ``get_many``.
CONCURRENCY = 16

_MIB = 1024 * 1024
_PART_SIZE = 5 * _MIB  # the smallest part that S3 accepts
_MAX_PARTS = 9_000  # S3 allows 10,000
_PARTS_IN_FLIGHT = 4
_DOWNLOAD_CHUNK = 4 * _MIB
_DELETE_BATCH = 1_000  # keys of one DeleteObjects request

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True)
class StorageSettings:
    """Location and credentials of a store. All fields except ``url`` are for S3; ``repr`` hides credentials.

    The default ``endpoint`` is AWS. Without both keys, the AWS environment variables and instance roles are
    used. ``path_style`` means ``https://host/bucket/key`` instead of ``https://bucket.host/key``.
    """

    url: str
    endpoint: str | None = None
    region: str | None = None
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    path_style: bool = True


@dataclass(frozen=True)
class ObjectInfo:
    """An object's metadata; ``size`` in bytes, ``last_modified`` in UTC."""

    key: str
    size: int
    etag: str | None
    last_modified: datetime


class ObjectStore:
    """Objects by key. Thread-safe; a pickled store contains only its settings.

    Every method raises :class:`InvalidKeyError` for a key that :func:`~modal_gpu.keys.check_key` rejects,
    :class:`ObjectNotFoundError` for a missing object, :class:`StorageAccessError` if the store refuses this
    installation, :class:`StorageRequestError` if it permanently rejects the request, and
    :class:`StorageError` itself for transient errors. Opening raises :class:`StorageUrlError` for an invalid
    address.
    """

    def __init__(self, settings: StorageSettings) -> None:
        self.settings = settings
        self._bucket_seen = False
        parts = urlsplit(settings.url)
        if parts.scheme == "file":
            if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
                raise _url_error(settings.url)
            self._root: Path | None = Path(unquote(parts.path))
            self.name = f"folder {self._root}"
        elif parts.scheme == "s3" and parts.hostname and not parts.username:
            self._root = None
            place = checked_endpoint(settings.endpoint, parts.netloc, path_style=True)
            at = f" at {place.netloc.rpartition('@')[2]}" if place.netloc else ""
            self.name = f"bucket s3://{parts.netloc}{parts.path}{at}"
        else:
            raise _url_error(settings.url)
        with self._errors("open"):
            # Two clients: where a person or a sensor waits, a dead server must be noticed within seconds;
            # a part of a large upload may take minutes on a slow line.
            self._store = self._open(read_timeout=20, retry_timeout=10)
            self._bulk = self._open(read_timeout=120, retry_timeout=180)

    @classmethod
    def from_url(cls, url: str, **options: Any) -> "ObjectStore":
        """Open a store by its URL; ``options`` are the other fields of :class:`StorageSettings`."""
        return cls(StorageSettings(url, **options))

    def __repr__(self) -> str:
        return f"ObjectStore({self.name})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.settings,)

    def _open(self, *, read_timeout: int, retry_timeout: int) -> LocalStore | S3Store:
        if self._root is not None:
            return LocalStore(self._root, mkdir=True, automatic_cleanup=True)
        settings, parts = self.settings, urlsplit(self.settings.url)
        bucket = parts.netloc
        endpoint = checked_endpoint(settings.endpoint, bucket, path_style=settings.path_style)
        config: S3Config = {
            "region": settings.region or "us-east-1",
            "virtual_hosted_style_request": not settings.path_style,
        }
        if endpoint.netloc:
            config["endpoint"] = endpoint.geturl().rstrip("/")
        if settings.access_key_id:
            config["access_key_id"] = settings.access_key_id
        if settings.secret_access_key:
            config["secret_access_key"] = settings.secret_access_key
        return S3Store(
            bucket,
            prefix=parts.path.strip("/") or None,
            config=config,
            client_options={
                "allow_http": endpoint.scheme == "http",
                "connect_timeout": timedelta(seconds=5),
                "read_timeout": timedelta(seconds=read_timeout),
                # For a complete request with its body: a long video on a slow line.
                "timeout": timedelta(hours=6),
            },
            retry_config={
                "max_retries": 4,
                "retry_timeout": timedelta(seconds=retry_timeout),
                "backoff": {
                    "init_backoff": timedelta(milliseconds=100),
                    "max_backoff": timedelta(seconds=1),
                    "base": 2,
                },
            },
        )

    # One object.

    def get(self, key: str) -> bytes:
        """Return the object's content."""
        check_key(key)
        with self._errors("read", key):
            return bytes(obstore.get(self._store, key).bytes())

    def get_range(self, key: str, start: int, end: int) -> bytes:
        """Return the bytes ``[start, end)`` of an object."""
        check_key(key)
        with self._errors("read", key):
            return bytes(obstore.get_range(self._store, key, start=start, end=end))

    def put(self, key: str, data: bytes, content_type: str = "application/octet-stream") -> None:
        """Write ``data`` as one object, completely or not at all."""
        check_key(key)
        store = self._store if len(data) < _MIB else self._bulk
        with self._errors("write", key):
            obstore.put(store, key, data, attributes=self._attributes(content_type), **_parts(len(data)))

    def download(self, key: str, path: Path | str) -> ObjectInfo:
        """Stream an object to a local file, which appears completely or not at all."""
        check_key(key)
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name[:40]}.{uuid.uuid4().hex}")
        try:
            with self._errors("download", key), partial.open("xb") as file:
                found = obstore.get(self._bulk, key)
                for chunk in found.stream(min_chunk_size=_DOWNLOAD_CHUNK):
                    file.write(chunk)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        return _info(found.meta)

    def address(self, key: str) -> str:
        """Return where a key is, for people: its path, or ``s3://bucket/prefix/key``."""
        return f"{self._root if self._root is not None else self.settings.url.rstrip('/')}/{key}"

    def local_path(self, key: str) -> Path | None:
        """Return the path of an object; ``None`` if it is missing or the store is not a local folder."""
        check_key(key)
        path = None if self._root is None else self._root / key
        return path if path is not None and path.is_file() else None

    def upload(self, path: Path | str, key: str, content_type: str = "application/octet-stream") -> None:
        """Stream a local file into an object, in parts if it is large.

        Raises ``FileNotFoundError`` if the local file is missing.
        """
        check_key(key)
        path = Path(path)
        size = path.stat().st_size
        with self._errors("upload", key):
            obstore.put(self._bulk, key, path, attributes=self._attributes(content_type), **_parts(size))

    async def put_stream(
        self, key: str, chunks: AsyncIterator[bytes], content_type: str = "application/octet-stream"
    ) -> None:
        """Write an object from pieces as they come, completely or not at all.

        An exception of ``chunks`` ends it and is passed on.
        """
        check_key(key)
        failure: list[BaseException] = []

        async def watched() -> AsyncIterator[bytes]:
            try:
                async for chunk in chunks:
                    yield chunk
            except GeneratorExit:
                raise  # the store has stopped reading: its own error counts
            except BaseException as error:
                failure.append(error)
                raise

        try:
            with self._errors("upload", key):
                await obstore.put_async(
                    self._bulk,
                    key,
                    watched(),
                    attributes=self._attributes(content_type),
                    **_parts(_PART_SIZE),
                )
        except Exception:
            # The store wraps the error of a piece in one of its own.
            if failure:
                raise failure[0] from None
            raise

    def presigned_put(self, key: str, seconds: float) -> str | None:
        """Return a URL to which anyone may ``PUT`` this object for ``seconds``; ``None`` for a folder."""
        check_key(key)
        if isinstance(self._store, LocalStore):
            return None
        with self._errors("sign an upload of", key):
            return obstore.sign(self._store, "PUT", key, timedelta(seconds=seconds))

    def upload_origin(self) -> str | None:
        """Return the origin of the URLs of :meth:`presigned_put`, such as ``https://s3.wasabisys.com``."""
        url = self.presigned_put("origin", 60)
        parts = urlsplit(url) if url else None
        return f"{parts.scheme}://{parts.netloc}" if parts else None

    def exists(self, key: str) -> bool:
        """Return whether the object exists; a missing bucket or refused access raises."""
        try:
            self.head(key)
        except ObjectNotFoundError:
            return False
        return True

    def head(self, key: str) -> ObjectInfo:
        """Return an object's metadata."""
        check_key(key)
        with self._errors("look up", key):
            try:
                meta = obstore.head(self._store, key)
            except FileNotFoundError:
                self._expect_bucket()
                raise
        self._bucket_seen = True
        return _info(meta)

    def _expect_bucket(self) -> None:
        """Raise if the bucket is missing, which a HEAD reply cannot distinguish from a missing object."""
        if self._root is not None or self._bucket_seen:
            return
        try:
            next(iter(obstore.list(self._store, chunk_size=1)), None)
        except BaseError as error:
            if not is_refusal(error):
                raise
            return  # without the right to list, the bucket cannot be checked
        self._bucket_seen = True

    # Many objects.

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects whose key starts with ``prefix`` (empty, or ending in ``/``), in any order."""
        _check_prefix(prefix)
        with self._errors("list", prefix):
            for batch in obstore.list(self._store, prefix or None, chunk_size=1_000):
                yield from map(_info, batch)

    def delete(self, keys: str | Iterable[str]) -> None:
        """Delete objects; missing ones are ignored."""
        keys = iter([keys] if isinstance(keys, str) else keys)
        while batch := [check_key(key) for key in islice(keys, _DELETE_BATCH)]:
            if self._root is None:
                with self._errors("delete", batch[0]):
                    obstore.delete(self._store, batch)
                continue
            for key in batch:
                try:
                    with self._errors("delete", key):
                        obstore.delete(self._store, key)
                except ObjectNotFoundError:
                    continue

    def delete_prefix(self, prefix: str) -> int:
        """Delete all objects under ``prefix``, which ends in ``/``; return their number."""
        if not prefix:
            raise InvalidKeyError("deleting a whole store is refused: use a prefix that ends in '/'")
        # All keys first, since deleting while listing may skip pages.
        keys = [info.key for info in self.list(prefix)]
        self.delete(keys)
        return len(keys)

    def put_many(self, objects: Iterable[tuple[str, bytes, str]], concurrency: int = CONCURRENCY) -> int:
        """Write ``(key, data, content_type)`` objects, ``concurrency`` at a time; return their number.

        ``objects`` is read lazily: at most ``concurrency`` of them are in memory. The first error ends it;
        objects written before remain.
        """
        return sum(1 for _ in _concurrently(lambda item: self.put(*item), objects, concurrency))

    def get_many(self, keys: Iterable[str], concurrency: int = CONCURRENCY) -> Iterator[tuple[str, bytes]]:
        """Yield ``(key, data)`` in the order of ``keys``, reading at most ``concurrency`` ahead."""
        return _concurrently(lambda key: (key, self.get(key)), keys, concurrency)

    def _attributes(self, content_type: str) -> dict[str, str] | None:
        return None if self._root is not None else {"Content-Type": content_type}

    @contextmanager
    def _errors(self, action: str, key: str = "") -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            if not is_storage_error(error):
                raise
            what = f"cannot {action} {key!r} in {self.name}" if key else f"cannot {action} {self.name}"
            raise translated(error, what, is_folder=self._root is not None) from None


def _url_error(url: str) -> StorageUrlError:
    # The message does not repeat the URL, which may contain a password.
    scheme = f"the scheme {url.partition('://')[0][:20]!r}" if "://" in url else "no scheme"
    return StorageUrlError(
        f"a storage URL is file:///absolute/folder or s3://bucket[/prefix]; this one has {scheme}, or lacks "
        "the rest. Keys and endpoint are settings of their own."
    )


def _check_prefix(prefix: str) -> None:
    if prefix:
        if not prefix.endswith("/"):
            raise InvalidKeyError(f"the prefix {prefix[:200]!r} does not end in '/'")
        check_key(prefix[:-1])


def _info(meta: Any) -> ObjectInfo:
    return ObjectInfo(meta["path"], meta["size"], meta["e_tag"], meta["last_modified"])


class _Parts(TypedDict):
    """Options of an upload in parts."""

    chunk_size: int
    max_concurrency: int


def _parts(size: int) -> _Parts:
    return {"chunk_size": max(_PART_SIZE, -(-size // _MAX_PARTS)), "max_concurrency": _PARTS_IN_FLIGHT}


def _concurrently(function: Callable[[A], B], items: Iterable[A], concurrency: int) -> Iterator[B]:
    """Yield results in order, computed by ``concurrency`` threads at most that many items ahead."""
    if concurrency < 1:
        raise ValueError(f"concurrency is at least 1, not {concurrency}")
    pending: deque[Future[B]] = deque()
    with ThreadPoolExecutor(concurrency, thread_name_prefix="storage") as pool:
        try:
            for item in items:
                if len(pending) == concurrency:
                    yield pending.popleft().result()
                pending.append(pool.submit(function, item))
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
