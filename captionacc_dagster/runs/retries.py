"""How often an asset tries again after an error that may pass, and how long it waits.

Which errors may pass is said by the error itself (``CaptionAccError.retryable``), after the table of
``modal_gpu.error_table``: an outage, a held lock, a lease that ran out, a container that was taken away. All
others end the run at once: a bad video, an unusable region, a quota, a wrong key, and a remote call that ran
into its time limit, since as long again would end the same way and costs as much.

A process that dies is another matter: Dagster starts its run again, once (``run_retries`` in dagster.yaml).
"""

import random
from dataclasses import dataclass

from modal_gpu.errors import CaptionAccError


@dataclass(frozen=True)
class Retries:
    """``most`` tries after the first one. The wait doubles each time, up to ``longest_seconds``."""

    most: int = 2
    first_seconds: float = 5.0
    longest_seconds: float = 300.0
    #: Part of the wait that is left to chance, so that what failed together does not come back together.
    jitter: float = 0.25

    def tries_again(self, error: BaseException, tries: int) -> bool:
        """Whether there is another try after an error of the ``tries``-th one, from 1."""
        return isinstance(error, CaptionAccError) and error.retryable and tries <= self.most

    def delay(self, tries: int, chance: float | None = None) -> float:
        """Seconds to wait after the ``tries``-th try, from 1. ``chance``: in [0, 1), or random."""
        chance = random.random() if chance is None else chance
        wait = min(self.first_seconds * 2 ** (tries - 1), self.longest_seconds)
        return wait * (1 + self.jitter * (2 * chance - 1))


#: By asset; the remote ones wait longer, because what failed is a queue or a service and not a connection.
RETRIES = {
    "extract_frames_and_ocr": Retries(most=2, first_seconds=10),
    "crop_and_infer_caption_frame_extents": Retries(most=2, first_seconds=20),
    "caption_ocr": Retries(most=2, first_seconds=10),
}
DEFAULT = Retries()


def retries_of(asset: str) -> Retries:
    """The policy of an asset, or of the multi-asset that makes it, by its op's name."""
    return RETRIES.get(asset, DEFAULT)
