"""Costs of remote calls: estimates before them, charges after. Arithmetic only; amounts in US dollars.

Modal bills a container's seconds by what it requests (GPU, cores, memory), from its start until it has been
idle for ``MODAL_SCALEDOWN_SECONDS``. A container's cost is therefore that of its calls' seconds, one cold
start and one idle time. Google Vision bills images.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from captionacc_dagster.resources.compute import FanOut
from modal_gpu.deployment.settings import CAPTION_OCR, CROP_AND_INFER, EXTRACT, FUNCTIONS, ModalSettings
from modal_gpu.errors import CaptionAccError, ConfigurationError
from modal_gpu.frame_index import frame_count, full_frame_indices
from modal_gpu.prices import PriceTable

# CPU seconds as `python -m benchmarks.core_seconds $CLIPS/en90.mp4` measured them on 2026-11-27, on 2 virtual
# cores shared with other work, so they are rather too large than too small: 90 s, 1280 × 720, 30 full
# frames, 30 captions, the shipped models. A core-second is one core for one second.

#: Decoding, for each second of video at 1280 × 720. It grows with the pixels.
DECODE_CORE_SECONDS = 0.049
#: RapidOCR, for each full frame: the function without decoding. The engine scales frames to one size.
FRAME_OCR_CORE_SECONDS = 0.127
#: Decoding, cropping, VP9 chunks, and the extents network, for each second of video at 1280 × 720; the stroke
#: predictor needs as much. It grows with the pixels. The network is counted as if it ran on the cores.
CROP_CORE_SECONDS = 0.126
#: RapidOCR and reading of chunks, for each caption.
CAPTION_CORE_SECONDS = 0.109
#: Captions a minute where people talk: 30 in 90 s of en90, 28 in 80 s of zh80.
CAPTIONS_A_MINUTE = 21

# Assumptions, because nothing has run on Modal yet.

#: From a container's start until it is ready: Modal's start, imports, models.
COLD_START_SECONDS = 20.0
#: Factor for slower cores, transfers, and frames that are read twice.
MARGIN = 1.5
#: For a video whose length is not known yet: 1 Mbit/s.
ASSUMED_BYTES_A_SECOND = 125_000
#: For a video whose size in pixels is not known yet.
ASSUMED_SIZE = (1920, 1080)

#: Most pixels of full frames that the engine sends to Google Vision as one image.
VISION_IMAGE_PIXELS = 25_000_000
_BASE_PIXELS = 1280 * 720


class CostLimitError(CaptionAccError):
    """The work would exceed the cost limit of its video, or of its tenant this month; nothing was called."""


@dataclass(frozen=True)
class VideoWork:
    """A video for functions to work on. ``captions``: how many are to be read; ``None``: not known.

    ``zones`` are its caption zones, the first one included. All are cropped in one pass over the video.
    """

    seconds: float
    width: int = ASSUMED_SIZE[0]
    height: int = ASSUMED_SIZE[1]
    captions: int | None = None
    zones: int = 1

    @classmethod
    def of_upload(
        cls,
        size_bytes: int,
        duration: float | None = None,
        width: int | None = None,
        height: int | None = None,
        zones: int = 1,
    ) -> "VideoWork":
        """Describe the video as the catalogue knows it: before its first run only by its file size."""
        seconds = size_bytes / ASSUMED_BYTES_A_SECOND if duration is None else duration
        return cls(seconds, width or ASSUMED_SIZE[0], height or ASSUMED_SIZE[1], zones=zones)

    @property
    def caption_count(self) -> int:
        """Captions to be read: the known number, or in each zone as many as in a video where people talk."""
        if self.captions is not None:
            return self.captions
        return self.zones * math.ceil(self.seconds / 60 * CAPTIONS_A_MINUTE)


@dataclass(frozen=True)
class Estimate:
    """One function's calls for one video. ``seconds`` are summed over containers, ``wall_seconds`` elapse."""

    function: str
    gpu: str
    calls: int
    containers: int
    seconds: float
    wall_seconds: float
    vision_images: int
    usd: float


def estimate(
    function: str, work: VideoWork, app: ModalSettings, prices: PriceTable, fan_out: FanOut
) -> Estimate:
    """Return the expected cost of a function for an entire video, with all containers started for it alone.

    Raises :class:`ConfigurationError` when its GPU has no price, ``KeyError`` for an unknown function.
    """
    own = app.function(function)
    calls = _calls(function, work, fan_out)
    is_waited_for = function == EXTRACT and calls > 1  # its first call finds out how long the video is
    abreast = calls - 1 if is_waited_for else calls
    containers = max(1, min(abreast, fan_out.max_parallel, own.max_containers))
    busy = _core_seconds(function, work) / own.workers * MARGIN
    seconds = busy + containers * (COLD_START_SECONDS + app.scaledown_seconds) if calls else 0.0
    first = fan_out.segment_frames / frame_count(work.seconds) if is_waited_for else 0.0
    rounds = math.ceil(abreast / containers)
    images = _vision_images(function, work, app, calls)
    rate = prices.container_second(own.gpu, own.cpu, own.memory_mib)
    return Estimate(
        function=function,
        gpu=own.gpu or "none",
        calls=calls,
        containers=containers if calls else 0,
        seconds=seconds,
        wall_seconds=COLD_START_SECONDS + busy * (first + (1 - first) / abreast * rounds) if calls else 0.0,
        vision_images=images,
        usd=round(seconds * rate + prices.vision(images), 6),
    )


def estimates(work: VideoWork, app: ModalSettings, prices: PriceTable, fan_out: FanOut) -> list[Estimate]:
    """Return the estimate of each function, in the order in which a video passes through them."""
    return [estimate(function, work, app, prices, fan_out) for function in FUNCTIONS]


def _calls(function: str, work: VideoWork, fan_out: FanOut) -> int:
    if function == CAPTION_OCR:
        size = fan_out.captions_a_call if fan_out.max_parallel > 1 else work.caption_count
        return math.ceil(work.caption_count / size) if work.caption_count else 0
    if fan_out.max_parallel == 1 or (function == CROP_AND_INFER and not fan_out.divide_crops):
        return 1
    count = frame_count(work.seconds)
    if function == EXTRACT:
        return 1 + len(fan_out.segments_after_first(count))
    return len(fan_out.segments(count))


def _core_seconds(function: str, work: VideoWork) -> float:
    scale = max(1.0, work.width * work.height / _BASE_PIXELS)
    if function == EXTRACT:
        frames = len(full_frame_indices(frame_count(work.seconds)))
        return work.seconds * DECODE_CORE_SECONDS * scale + frames * FRAME_OCR_CORE_SECONDS
    if function == CROP_AND_INFER:
        # Further zones share the first one's decoding.
        of_further_zone = CROP_CORE_SECONDS - DECODE_CORE_SECONDS
        return work.seconds * (CROP_CORE_SECONDS + (work.zones - 1) * of_further_zone) * scale
    return work.caption_count * CAPTION_CORE_SECONDS


def _vision_images(function: str, work: VideoWork, app: ModalSettings, calls: int) -> int:
    """Return the images that Google bills, rounded up for each call; 0 if the deployment uses RapidOCR.

    Without ``OCR_ENGINE`` the containers use Vision if they have its secret, which is not known here.
    """
    if app.ocr_engine == "rapidocr" or function == CROP_AND_INFER:
        return 0
    montage = app.vision_montage or 100
    if function == EXTRACT:
        frames = len(full_frame_indices(frame_count(work.seconds)))
        return (
            math.ceil(frames / max(1, min(montage, VISION_IMAGE_PIXELS // (work.width * work.height))))
            + calls
            - 1
        )
    return math.ceil(work.caption_count / montage) + max(0, calls - 1)


@dataclass(frozen=True)
class Charge:
    """Cost of one ended call. ``measured``: by the function's own clock, otherwise by its row's times."""

    usd: float
    seconds: float
    gpu: str
    vision_images: int
    measured: bool

    @property
    def gpu_seconds(self) -> float:
        """The seconds on a GPU; 0 without one."""
        return 0.0 if self.gpu == "none" else self.seconds


def actual(
    function: str,
    usage: Mapping[str, Any] | None,
    app: ModalSettings,
    prices: PriceTable,
    *,
    started_at: datetime | None = None,
    finished_at: datetime | None = None,
) -> Charge:
    """Return what a call cost, from its function's measurements or else from its row's times.

    ``usage``: ``seconds``, ``cold_start_seconds``, ``gpu`` and, if the container counts them,
    ``vision_images``. The call that found its container cold pays for the container's start and final idle
    time. A call that never began cost nothing. A cancelled or timed-out call cost the time between its
    start and its end, up to the function's time limit. A GPU without a price counts as the most expensive.
    """
    own = app.function(function) if function in FUNCTIONS else None
    used = usage or {}
    gpu = str(used.get("gpu") or (own and own.gpu) or "none")
    measured = isinstance(used.get("seconds"), int | float)
    if measured:
        cold = float(used.get("cold_start_seconds") or 0.0)
        seconds = float(used["seconds"]) + (cold + app.scaledown_seconds if cold > 0 else 0.0)
    elif started_at is not None and finished_at is not None:
        most = own.timeout_seconds * (own.retries + 1) if own else math.inf
        seconds = min(max(0.0, (finished_at - started_at).total_seconds()), most) + app.scaledown_seconds
    else:
        seconds = 0.0
    images = int(used.get("vision_images") or 0)
    try:
        gpu_rate = prices.gpu(gpu)
    except ConfigurationError:
        gpu_rate = max(prices.gpu_second.values())
    rate = gpu_rate + (prices.container_second(None, own.cpu, own.memory_mib) if own else 0.0)
    return Charge(round(seconds * rate + prices.vision(images), 6), round(seconds, 3), gpu, images, measured)
