"""Prices of remote compute in US dollars: public list prices, which settings can replace.

Imports nothing of Modal or Google.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from modal_gpu.errors import ConfigurationError

#: US dollars per second of one GPU: https://modal.com/pricing, as collected on 2026-07-01, as the next two.
#: `modal billing rates` prints the account's own.
GPU_SECOND = {
    "T4": 0.000164,
    "L4": 0.000222,
    "A10": 0.000306,
    "L40S": 0.000542,
    "A100-40GB": 0.000583,
    "A100-80GB": 0.000694,
    "H100": 0.001097,
    "H200": 0.001261,
    "B200": 0.001736,
}
#: US dollars per second of one core, and of one GiB of memory, that a container requests.
CPU_CORE_SECOND = 0.0000131
MEMORY_GIB_SECOND = 0.00000222

#: US dollars per 1000 images of document text detection, up to 5 million per month
#: (https://cloud.google.com/vision/pricing, as of 2026-11-21). The first 1000 images of a month are free, but
#: counted here.
VISION_THOUSAND_IMAGES = 1.50

#: Modal's other names of the same GPU.
_ALIASES = {"A10G": "A10", "A100": "A100-40GB"}
_COUNTED = re.compile(r"(?P<name>[^:!+]+)[!+]?(?::(?P<count>[1-9]\d?))?")
_AMOUNTS = ("cpu_core_second", "memory_gib_second", "vision_thousand_images")


@dataclass(frozen=True)
class PriceTable:
    """Prices in US dollars; the keys of ``gpu_second`` are Modal's names of GPUs."""

    gpu_second: Mapping[str, float] = field(default_factory=lambda: dict(GPU_SECOND))
    cpu_core_second: float = CPU_CORE_SECOND
    memory_gib_second: float = MEMORY_GIB_SECOND
    vision_thousand_images: float = VISION_THOUSAND_IMAGES

    @classmethod
    def from_json(cls, text: str) -> "PriceTable":
        """Return the list prices, with those in ``text`` replaced; an empty text changes none.

        The format is ``{"gpu_second": {"T4": 0.00015}, "cpu_core_second": …, "memory_gib_second": …,
        "vision_thousand_images": …}``; each key is optional. Raises :class:`ConfigurationError` for others.
        """
        if not text.strip():
            return cls()
        try:
            given = json.loads(text)
        except ValueError as error:
            raise ConfigurationError(f"CAPTIONACC_PRICES is not JSON: {error}") from None
        if not isinstance(given, dict) or not isinstance(given.get("gpu_second", {}), dict):
            raise ConfigurationError(
                'CAPTIONACC_PRICES is not an object such as {"gpu_second": {"T4": 0.00016}}'
            )
        if unknown := sorted(given.keys() - {"gpu_second", *_AMOUNTS}):
            raise ConfigurationError(
                f"CAPTIONACC_PRICES has {', '.join(unknown)}: prices are gpu_second, {', '.join(_AMOUNTS)}"
            )
        gpus = {_plain(name): _amount(name, price) for name, price in given.get("gpu_second", {}).items()}
        amounts = {name: _amount(name, given[name]) for name in _AMOUNTS if name in given}
        return replace(cls(), gpu_second=GPU_SECOND | gpus, **amounts)

    def gpu(self, name: str | None) -> float:
        """Return the price of a second of a GPU, such as ``A10G``, ``H100!`` or ``T4:2``; 0 for none.

        Raises :class:`ConfigurationError` for a GPU without a price.
        """
        if name is None or name.lower() in ("", "none"):
            return 0.0
        counted = _COUNTED.fullmatch(name)
        price = self.gpu_second.get(_plain(counted["name"])) if counted else None
        if counted is None or price is None:
            raise ConfigurationError(
                f"GPU {name} has no price: set CAPTIONACC_PRICES="
                f'\'{{"gpu_second": {{"{_plain(name)}": 0.001}}}}\' to the price from `modal billing rates`'
            )
        return price * int(counted["count"] or 1)

    def container_second(self, gpu: str | None, cpu: float, memory_mib: float) -> float:
        """Return the price of a second of a container with these requests. Raises like :meth:`gpu`."""
        return self.gpu(gpu) + cpu * self.cpu_core_second + memory_mib / 1024 * self.memory_gib_second

    def vision(self, images: int) -> float:
        """Return the price of a number of images at Google."""
        return images * self.vision_thousand_images / 1000


@lru_cache(maxsize=4)
def price_table(text: str) -> PriceTable:
    """Return the cached result of :meth:`PriceTable.from_json`."""
    return PriceTable.from_json(text)


def _plain(name: str) -> str:
    upper = name.upper()
    return _ALIASES.get(upper, upper)


def _amount(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ConfigurationError(f"CAPTIONACC_PRICES: {name} is {value!r}, not an amount in US dollars")
    return float(value)
