"""Which cropped frames a video's readers use."""

from captionacc_dagster.resources.catalog import Catalog, CroppedFramesVersion, VideoRow, WrongStateError


def current_version(catalog: Catalog, video: VideoRow) -> CroppedFramesVersion:
    """The video's active cropped-frames version, with the region it was cropped to.

    That region can differ from the row's own when another one has been approved since. Raises
    :class:`WrongStateError` before the first version.
    """
    number = video.current_cropped_frames_version
    for version in catalog.list_cropped_frames_versions(video.video_id):
        if version.version == number:
            return version
    raise WrongStateError(
        f"video {video.video_id} has no cropped frames yet: materialize cropped_chunks as well"
    )
