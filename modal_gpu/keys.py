"""Storage keys. Only this module builds them.

A prefix policy lets a tenant's browsers read ``{tenant_id}/client/…`` but never ``{tenant_id}/server/…``.
Ids must be UUIDs, so no key can leave its tenant's prefix.
"""

import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from modal_gpu.errors import InvalidIdError, InvalidKeyError
from modal_gpu.frame_index import ChunkRef

#: Largest size of a key in UTF-8. S3's limit is 1,024, including the store's own prefix.
MAX_KEY_BYTES = 900
#: A picture's name and the beginning of its content's SHA-256.
_PICTURE = re.compile(r"[a-z0-9_]{1,40}-[0-9a-f]{12}\.(jpg|png)")
_CHUNK = re.compile(r"modulo_(?P<level>16|4|1)/chunk_(?P<first>\d{10})\.webm")
_CROPPED_FRAMES = re.compile(
    r"(?P<tenant>[^/]+)/client/videos/(?P<video>[^/]+)/cropped_frames_v(?P<version>[1-9]\d{0,8})/(zone_(?P<zone>[1-9])/)?"
)
#: Backslashes, control characters, line separators, bidirectional overrides, lone surrogates.
_NOT_IN_A_KEY = re.compile(r"[\\\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def canonical_uuid(value: str | uuid.UUID, what: str = "id") -> str:
    """Return a UUID in its canonical lower-case form. Raises :class:`InvalidIdError` for anything else."""
    text = str(value)
    canonical: str | None
    try:
        canonical = str(uuid.UUID(text))
    except ValueError:
        canonical = None
    if canonical is None or canonical != text.lower():
        example = "123e4567-e89b-12d3-a456-426614174000"
        raise InvalidIdError(f"{what} {text[:80]!r} is not a UUID such as {example}")
    return canonical


def check_key(key: str) -> str:
    """Return the key if it is valid, by the same rule as ``captionacc.is_storage_key`` in SQL.

    It has at most 900 bytes in UTF-8; no empty, ``.`` or ``..`` part; no backslash, control character, line
    separator, bidirectional override or lone surrogate. Raises :class:`InvalidKeyError`.
    """
    if any(part in ("", ".", "..") for part in key.split("/")) or _NOT_IN_A_KEY.search(key):
        raise InvalidKeyError(f"{key[:200]!r} is not a storage key such as 'folder/name.ext'")
    if (size := len(key.encode())) > MAX_KEY_BYTES:
        raise InvalidKeyError(
            f"a storage key of {size} bytes is too long: {key[:60]!r}… (at most {MAX_KEY_BYTES})"
        )
    return key


def check_tenant_key(key: str, tenant_id: str) -> str:
    """Return the key if it is in the tenant's prefix. Raises :class:`InvalidKeyError`."""
    if not check_key(key).startswith(f"{tenant_id}/"):
        raise InvalidKeyError(f"{key[:200]!r} is not inside the prefix of tenant {tenant_id}")
    return key


@dataclass(frozen=True)
class VideoKeys:
    """The keys of a video. Raises :class:`InvalidIdError` for invalid ids."""

    tenant_id: str
    video_id: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "tenant_id", canonical_uuid(self.tenant_id, "tenant id"))
        object.__setattr__(self, "video_id", canonical_uuid(self.video_id, "video id"))

    def _client(self, name: str) -> str:
        return f"{self.tenant_id}/client/videos/{self.video_id}/{name}"

    def _server(self, name: str) -> str:
        return f"{self.tenant_id}/server/videos/{self.video_id}/{name}"

    @property
    def client_prefix(self) -> str:
        """The prefix of all that clients may read."""
        return self._client("")

    @property
    def server_prefix(self) -> str:
        """The prefix of what only the platform reads."""
        return self._server("")

    @property
    def video(self) -> str:
        """The upload. The name ends with ``.mp4`` for every container format."""
        return self._client("video.mp4")

    @property
    def full_frames_prefix(self) -> str:
        """The prefix of the full frames."""
        return self._client("full_frames/")

    @property
    def thumbnails_prefix(self) -> str:
        """The prefix of the full frames' thumbnails."""
        return self._client("full_frames_thumbnails/")

    def full_frame(self, index: int) -> str:
        """Return the key of a full frame, by its index in tenths of a second."""
        return f"{self.full_frames_prefix}frame_{_non_negative(index):06d}.jpg"

    def full_frame_index(self, key: str) -> int | None:
        """Return the index of a full frame's key, or ``None`` for another key."""
        name = key.removeprefix(f"{self.full_frames_prefix}frame_").removesuffix(".jpg")
        return int(name) if name.isdecimal() and self.full_frame(int(name)) == key else None

    def thumbnail(self, index: int) -> str:
        """Return the key of a full frame's thumbnail."""
        return f"{self.thumbnails_prefix}frame_{_non_negative(index):06d}.jpg"

    @property
    def raw_ocr_db(self) -> str:
        """All text that OCR read in the full frames."""
        return self._server("raw-ocr.db.gz")

    @property
    def layout_db(self) -> str:
        """The layout: text lines with their labels, crop region, zones."""
        return self._client("layout.db.gz")

    @property
    def captions_db(self) -> str:
        """The captions with their text and times."""
        return self._client("captions.db.gz")

    def cropped_frames_prefix(self, version: int, zone: int = 0) -> str:
        """Return the prefix of a zone's chunks. That of zone 0 contains those of all further zones."""
        folder = f"zone_{_zone(zone)}/" if zone else ""
        return self._client(f"cropped_frames_v{_version(version)}/{folder}")

    def chunk(self, version: int, chunk: ChunkRef, zone: int = 0) -> str:
        """Return the key of a chunk of cropped frames, by its level and its first member's index."""
        name = f"modulo_{chunk.level}/chunk_{chunk.first_index:010d}.webm"
        return self.cropped_frames_prefix(version, zone) + name

    def chunk_of(self, key: str, version: int, zone: int = 0) -> tuple[int, int] | None:
        """Return level and first index of a chunk's key, or ``None`` for another key."""
        match = _CHUNK.fullmatch(key.removeprefix(self.cropped_frames_prefix(version, zone)))
        return (int(match["level"]), int(match["first"])) if match else None

    def caption_frame_extents_db(self, version: int, zone: int = 0) -> str:
        """Return the key of the extents: labels of neighbouring cropped frames."""
        return self._extents(version, zone) + "db.gz"

    def caption_frame_extents_runs(self, version: int) -> str:
        """Return the prefix of databases that other callers of the function on Modal had made."""
        return self._extents(version, 0) + "runs/"

    def caption_frame_extents_of_run(self, version: int, run_id: str) -> str:
        """Return the key of the database of one such call, which no other call overwrites."""
        return f"{self.caption_frame_extents_runs(version)}{canonical_uuid(run_id, 'run id')}.db.gz"

    def caption_frame_extents_parts(self, version: int, zone: int = 0) -> str:
        """Return the prefix of the parts that segments store for the complete database."""
        return self._extents(version, zone) + "parts/"

    def caption_frame_extents_part(self, version: int, start: int, zone: int = 0) -> str:
        """Return the key of the part of the segment that starts at an index."""
        return f"{self.caption_frame_extents_parts(version, zone)}{_non_negative(start):010d}.db.gz"

    def _extents(self, version: int, zone: int) -> str:
        infix = f"zone_{_zone(zone)}." if zone else ""
        return self._server(f"caption_frame_extents_v{_version(version)}.{infix}")

    @property
    def raw_ocr_parts(self) -> str:
        """The prefix of the parts that segments store for the complete database."""
        return self._server("raw-ocr.parts/")

    def raw_ocr_part(self, start: int) -> str:
        """Return the key of the part of the segment that starts at an index."""
        return f"{self.raw_ocr_parts}{_non_negative(start):010d}.db.gz"

    @property
    def caption_text_parts(self) -> str:
        """The prefix of the texts that running calls have read so far."""
        return self._server("caption_texts.parts/")

    def caption_text_part(self, version: int, zone: int, start: int, end: int) -> str:
        """Return the key of the texts of one call, whose captions are in the frames ``[start, end)``."""
        name = (
            f"v{_version(version)}.zone_{_zone(zone)}.{_non_negative(start):010d}-{_non_negative(end):010d}"
        )
        return f"{self.caption_text_parts}{name}.json"

    @property
    def pictures_prefix(self) -> str:
        """The prefix of pictures for the Dagster UI."""
        return self._server("pictures/")

    def picture(self, name: str) -> str:
        """Return the key of a picture for the Dagster UI, such as ``crop_region-0123456789ab.jpg``.

        Raises :class:`InvalidKeyError` for another name.
        """
        if not _PICTURE.fullmatch(name):
            raise InvalidKeyError(f"{name[:80]!r} is not a picture's name such as 'poster-0123456789ab.jpg'")
        return f"{self.pictures_prefix}{name}"

    @property
    def srt(self) -> str:
        """The captions as SubRip."""
        return self._client("captions.srt")

    @property
    def vtt(self) -> str:
        """The captions as WebVTT."""
        return self._client("captions.vtt")


@dataclass(frozen=True)
class CroppedFramesPlace:
    """The place of one zone's chunks in one version of a video's cropped frames."""

    keys: VideoKeys
    version: int
    zone: int = 0

    @classmethod
    def of(cls, prefix: str) -> "CroppedFramesPlace":
        """Parse the prefix of :meth:`VideoKeys.cropped_frames_prefix`; its last slash may be missing.

        Raises :class:`InvalidKeyError` and :class:`InvalidIdError`.
        """
        match = _CROPPED_FRAMES.fullmatch(prefix if prefix.endswith("/") else f"{prefix}/")
        if match is None:
            raise InvalidKeyError(
                f"{prefix[:200]!r} is not a prefix of chunks such as "
                "'TENANT/client/videos/VIDEO/cropped_frames_v1/'"
            )
        keys = VideoKeys(match["tenant"], match["video"])
        return cls(keys, int(match["version"]), int(match["zone"] or 0))

    @property
    def prefix(self) -> str:
        return self.keys.cropped_frames_prefix(self.version, self.zone)


def cropped_frames_versions(keys: VideoKeys, names: Iterable[str]) -> set[int]:
    """Return the versions that some keys of a video's cropped frames belong to."""
    pattern = re.compile(rf"{re.escape(keys.client_prefix)}cropped_frames_v([1-9]\d{{0,8}})/")
    return {int(match[1]) for name in names if (match := pattern.match(name))}


def _non_negative(index: int) -> int:
    if index < 0:
        raise ValueError(f"frame index {index} is negative")
    return index


def _version(version: int) -> int:
    if version < 1:
        raise ValueError(f"cropped-frames versions start at 1, not {version}")
    return version


def _zone(zone: int) -> int:
    if zone < 0:
        raise ValueError(f"zone {zone} is negative")
    return zone
