"""The subtitle files that a video has in the bucket, and the cropped frames that its captions are from."""

from collections.abc import Sequence
from dataclasses import dataclass

from captionacc_dagster.resources.catalog import Catalog, VideoRow, WrongStateError
from modal_gpu.captions.growth import Growing
from modal_gpu.captions.subtitles import SubtitleFormat, are_placed, encoded, to_srt, to_vtt
from modal_gpu.contracts import CropRegion, Zones, crop_regions
from modal_gpu.databases.captions import Caption
from modal_gpu.databases.layout import LayoutFile, read_layout
from modal_gpu.errors import ObjectNotFoundError
from modal_gpu.keys import VideoKeys
from modal_gpu.storage import ObjectStore


@dataclass(frozen=True)
class ActiveVersion:
    """The cropped frames that a video's readers use. ``frame_count``: 10 Hz indices in the chunks."""

    version: int
    crop_region: CropRegion
    frame_count: int
    caption_zones: Zones = ()

    @property
    def regions(self) -> dict[int, CropRegion]:
        """The crop region of each zone."""
        return crop_regions(self.crop_region, self.caption_zones)

    def languages(self, zone: int) -> list[str]:
        """Return the language of a zone that has one of its own; nothing for the others."""
        return [one.language for one in self.caption_zones if one.zone_index == zone and one.language]


def current_version(catalog: Catalog, video: VideoRow) -> ActiveVersion:
    """Return the video's active cropped-frames version, with the zones it was cropped to.

    They differ from the row's own when others have been approved since. Raises
    :class:`WrongStateError` before the first version.
    """
    number = video.current_cropped_frames_version
    for version in catalog.list_cropped_frames_versions(video.video_id):
        if version.version == number and version.total_frames is not None:
            return ActiveVersion(
                version.version, version.crop_region, version.total_frames, version.caption_zones
            )
    raise WrongStateError(
        f"video {video.video_id} has no cropped frames yet: materialize cropped_chunks as well"
    )


@dataclass(frozen=True)
class SubtitleFiles:
    """The texts of ``captions.srt`` and ``captions.vtt``."""

    srt: str
    vtt: str

    @classmethod
    def of(
        cls, catalog: Catalog, video: VideoRow, captions: Sequence[Caption], growing: Growing
    ) -> "SubtitleFiles":
        """Return the files of a video's captions, placed where the current version's zones are."""
        regions = current_version(catalog, video).regions if are_placed(captions) else {}
        return cls(
            to_srt(captions, video.timeline, growing, regions),
            to_vtt(captions, video.timeline, growing, regions),
        )

    def put(self, object_store: ObjectStore, keys: VideoKeys) -> None:
        """Store both files."""
        object_store.put(keys.srt, self.srt.encode(), "application/x-subrip")
        object_store.put(keys.vtt, self.vtt.encode(), "text/vtt")


def encode_captions(
    object_store: ObjectStore,
    video: VideoRow,
    captions: Sequence[Caption],
    format: SubtitleFormat,
    growing: Growing,
) -> bytes:
    """Return a subtitle file of a video's captions, placed as its layout says where the format needs it."""
    layout = _stored_layout(object_store, video) if are_placed(captions, format) else None
    return encoded(captions, video.timeline, format, growing, layout)


def _stored_layout(object_store: ObjectStore, video: VideoRow) -> LayoutFile | None:
    """Return a video's layout with the approved zones; None if there is none.

    There is none if people made all of the video's captions.
    """
    try:
        layout = read_layout(object_store.get(VideoKeys(video.tenant_id, video.video_id).layout_db))
    except ObjectNotFoundError:
        return None
    return layout if video.crop_region is None else layout.with_zones(video.crop_region, video.caption_zones)
