"""The frame rates that callers may ask for, in the index space of tenths of a second."""

import math
from fractions import Fraction

from modal_gpu.errors import FrameRateError
from modal_gpu.frame_index import INDEX_RATE

#: The documented rate of full frames, which stands for the platform's own spacing
#: (:func:`modal_gpu.frame_index.full_frame_indices`).
FULL_FRAME_RATE = 0.1
#: Fastest rate of full frames, in Hz.
MOST_FULL_FRAME_RATE = 1
#: Rate of cropped frames, in Hz, and all that work: the divisors of the index space's.
CROP_RATE = float(INDEX_RATE)
CROP_RATES = tuple(rate for rate in range(INDEX_RATE, 0, -1) if INDEX_RATE % rate == 0)


def exact_rate(rate: float) -> Fraction:
    """Return a rate of full frames, in Hz, as it is written: ``0.3`` is 3/10.

    Raises :class:`FrameRateError` unless it is above 0 and at most 1.
    """
    if not (math.isfinite(rate) and 0 < rate <= MOST_FULL_FRAME_RATE):
        raise FrameRateError(
            f"full frames at {rate:g} Hz are not possible: any rate above 0 and up to {MOST_FULL_FRAME_RATE} "
            f"Hz works, such as {FULL_FRAME_RATE:g} or 0.5"
        )
    return Fraction(repr(float(rate)))


def crop_step(rate: float) -> int:
    """Return the number of indices from one cropped frame to the next at a rate in Hz.

    Raises :class:`FrameRateError` unless the rate is one of :data:`CROP_RATES`.
    """
    if rate not in CROP_RATES:
        rates = ", ".join(map(str, CROP_RATES[:-1]))
        raise FrameRateError(
            f"cropped frames at {rate:g} Hz are not possible: {rates} and {CROP_RATES[-1]} Hz work"
        )
    return INDEX_RATE // int(rate)
