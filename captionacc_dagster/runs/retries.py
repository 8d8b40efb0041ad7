"""The number of retries of an asset after a transient error, and the waits between them.

The error states whether it is transient (``CaptionAccError.retryable``), after the table of
``modal_gpu.error_table``: an outage, a held lock, an expired lease, a preempted container. All other errors
end the run at once: a bad video, an unusable region, a quota, a wrong key, and a remote call that reached its
time limit, because a retry would end the same way at the same cost.

This does not cover a process that dies: Dagster retries its run once (``run_retries`` in dagster.yaml).
"""

import random
from dataclasses import dataclass

from modal_gpu.errors import CaptionAccError


@dataclass(frozen=True)
class Retries:
    """A retry policy: up to ``most`` retries. The wait doubles each time, up to ``longest_seconds``."""

    most: int = 2
    first_seconds: float = 5.0
    longest_seconds: float = 300.0
    #: Random part of the wait, so that what failed together does not retry together.
    jitter: float = 0.25

    def tries_again(self, error: BaseException, tries: int) -> bool:
        """Return whether the error of the ``tries``-th attempt, from 1, is retried."""
        return isinstance(error, CaptionAccError) and error.retryable and tries <= self.most

    def delay(self, tries: int, chance: float | None = None) -> float:
        """Return the seconds to wait after attempt ``tries``, from 1. ``chance``: in [0, 1), or random."""
        chance = random.random() if chance is None else chance
        wait = min(self.first_seconds * 2 ** (tries - 1), self.longest_seconds)
        return wait * (1 + self.jitter * (2 * chance - 1))


#: By op. Remote ones wait longer, because a queue or a service failed and not a connection.
RETRIES = {
    "extract_frames_and_ocr": Retries(most=2, first_seconds=10),
    "crop_and_infer_caption_frame_extents": Retries(most=2, first_seconds=20),
    "caption_ocr": Retries(most=2, first_seconds=10),
}
DEFAULT = Retries()


def retries_of(asset: str) -> Retries:
    """Return the policy of an asset or multi-asset, by its op's name."""
    return RETRIES.get(asset, DEFAULT)
