"""Comparison of configurations on Modal: wall time and price of one video by GPU and number of containers.

Arithmetic only, on the figures of :mod:`captionacc_dagster.costs.estimates`. These count CPU cores, so a GPU
changes the price here and not the time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from captionacc_dagster.costs.estimates import VideoWork, estimates
from captionacc_dagster.resources.compute import FanOut
from modal_gpu.deployment.settings import ModalSettings
from modal_gpu.prices import PriceTable

#: GPUs that are compared, by Modal's names; ``none`` is a container without one.
GPUS = ("none", "T4", "L4", "A10G")
#: Numbers of containers that are compared.
CONTAINERS = (1, 2, 4, 10)
#: Seconds of an hour of video.
_HOUR = 3600.0


@dataclass(frozen=True)
class Configuration:
    """Time and price of one video if all functions have ``gpu`` and up to ``containers`` containers each.

    ``wall_seconds`` is the time from the first call to the last result, with the stages one after the other;
    amounts are US dollars, ``usd_per_hour`` for an hour of video.
    """

    gpu: str
    containers: int
    wall_seconds: float
    usd: float
    usd_per_hour: float


def compare(
    work: VideoWork,
    app: ModalSettings,
    prices: PriceTable,
    fan_out: FanOut,
    gpus: Sequence[str] = GPUS,
    containers: Sequence[int] = CONTAINERS,
) -> list[Configuration]:
    """Return every combination of a GPU and a number of containers, in that order.

    Everything else is as deployed. Raises :class:`ConfigurationError` for a GPU without a price.
    """
    return [_configuration(work, app, prices, fan_out, gpu, count) for gpu in gpus for count in containers]


def _configuration(
    work: VideoWork, app: ModalSettings, prices: PriceTable, fan_out: FanOut, gpu: str, containers: int
) -> Configuration:
    deployed = app.model_copy(update={"extract_gpu": gpu, "crop_infer_gpu": gpu, "caption_ocr_gpu": gpu})
    found = estimates(work, deployed, prices, replace(fan_out, max_parallel=containers))
    usd = sum(one.usd for one in found)
    return Configuration(
        gpu=gpu,
        containers=containers,
        wall_seconds=sum(one.wall_seconds for one in found),
        usd=round(usd, 6),
        usd_per_hour=round(usd * _HOUR / work.seconds, 6),
    )
