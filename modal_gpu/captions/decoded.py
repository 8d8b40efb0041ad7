"""Captions from a stored extents database. No video, no heavy import."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from modal_gpu.captions.merging import merge_extents
from modal_gpu.databases.captions import Caption
from modal_gpu.databases.extents import ChangeSeconds, ExtentsRun, read_change_seconds, read_extents
from modal_gpu.extents.decoder import Extent, decode, settings_for


@dataclass(frozen=True)
class DecodedExtents:
    """A run's caption extents, in a video of ``frame_count`` indices."""

    run: ExtentsRun
    extents: Sequence[Extent]
    frame_count: int
    change_seconds: ChangeSeconds

    @classmethod
    def of(cls, data: bytes) -> "DecodedExtents":
        """Decode an extents database. Raises :class:`DatabaseFileError` if the file is damaged."""
        run, predictions = read_extents(data)
        extents = decode(predictions, settings_for(run.model_version))
        return cls(run, extents, predictions.frame_count, read_change_seconds(data))

    def captions(self, duration: float, existing: Sequence[Caption] = (), zone: int = 0) -> list[Caption]:
        """Return a zone's captions in a video of ``duration`` seconds, merged with its existing ones.

        See :func:`~modal_gpu.captions.merging.merge_extents`.
        """
        merged = merge_extents(existing, self.extents, self.frame_count, duration, self.change_seconds)
        return [replace(caption, zone=zone) for caption in merged] if zone else merged
