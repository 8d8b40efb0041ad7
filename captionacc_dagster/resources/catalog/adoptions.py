"""The catalogue's calls for videos that were taken over from the predecessor."""

from captionacc_dagster.resources.catalog.calls import CatalogCalls, first, is_id, sql_function
from captionacc_dagster.resources.catalog.rows.adoptions import AdoptedVideo, Adoption
from captionacc_dagster.resources.catalog.rows.videos import VideoRow


class AdoptionCalls(CatalogCalls):
    """Adoptions. Changes raise ``VideoDeletedError`` for a video that was deleted here."""

    def adopt_video(self, adopted: AdoptedVideo) -> VideoRow:
        """Register a video of the predecessor whose files are in the bucket.

        With the same fingerprint nothing changes; with another one it is registered again. Raises
        ``WrongStateError`` if it has changed here since, ``AlreadyRegisteredError`` if it was registered
        otherwise, ``UnknownTenantError``, ``InvalidCropRegionError`` and ``InvalidArgumentError``.
        """
        (row,) = self._call("adopt_video", repeatable=True, **vars(adopted))
        return VideoRow.from_row(row)

    @sql_function(repeatable=True)
    def is_adoption_untouched(self, video_id: str) -> bool:
        """Return whether a video was adopted and has not changed here since, in its row or its files."""

    @sql_function(repeatable=True)
    def mark_adoption_reported(self, video_id: str, fingerprint: str) -> Adoption:
        """Record that Dagster has the video's partition and materializations."""

    def get_adoption(self, video_id: str) -> Adoption | None:
        """Return how a video was adopted, if it was."""
        return first(self._select(Adoption, "adoptions", [is_id("video_id", video_id)], ["video_id"]))
