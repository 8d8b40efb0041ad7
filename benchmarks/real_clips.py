"""Real clips for the benchmark of extents: their strips, their layout's hints and their truth."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.extents_scores import Truth
from modal_gpu.contracts import CropRegion
from modal_gpu.extents.predictor import Observation, StripHints


@dataclass(frozen=True)
class RealClip:
    """The strips of an entire video, its hints from layout analysis, and the truth in seconds."""

    luma: np.ndarray
    hints: StripHints
    captions: list[tuple[float, float]]

    def truth(self) -> Truth:
        """Return the truth by frame. Index i shows what is on screen at i / 10 s."""
        owner = np.full(len(self.luma), -1)
        moments = np.arange(len(self.luma)) / 10 + 1e-6
        for place, (start, end) in enumerate(self.captions):
            owner[(moments >= start) & (moments < end)] = place
        return Truth(owner, np.ones(len(owner), bool))


def real_clip(video: Path, cache: Path) -> RealClip:
    """Crop the strips as the pipeline does, from OCR and layout, or load them from ``cache``."""
    from benchmarks.quality import read_captions

    stored = cache / f"{video.stem}.npz"
    if not stored.exists():
        luma, hints = _strips_and_hints(video)
        fields = asdict(hints)
        del fields["samples"]  # a clip is complete: its reference pictures come from its own strips
        stored.parent.mkdir(parents=True, exist_ok=True)
        partial = stored.with_suffix(".part")
        with partial.open("wb") as file:
            np.savez(file, luma=luma, hints=np.frombuffer(json.dumps(fields).encode(), np.uint8))
        partial.replace(stored)
    with np.load(stored) as data:
        luma, fields = data["luma"], json.loads(data["hints"].tobytes())
    fields.pop("samples", None)  # clips from before have them, empty
    fields["ignore_boxes"] = tuple(map(tuple, fields["ignore_boxes"]))
    fields["observations"] = tuple(
        Observation(o["index"], tuple(map(tuple, o["caption_boxes"]))) for o in fields["observations"]
    )
    captions = [(c.start_s, c.end_s) for c in read_captions(video.with_suffix(".srt"))]
    return RealClip(luma, StripHints(**fields), captions)


def _strips_and_hints(video: Path) -> tuple[np.ndarray, StripHints]:
    import tempfile
    import uuid

    from modal_gpu.contracts import ExtractRequest
    from modal_gpu.databases.layout import read_layout
    from modal_gpu.functions.extract import extract_frames_and_ocr
    from modal_gpu.functions.hints import strip_hints
    from modal_gpu.functions.settings import ComputeSettings
    from modal_gpu.keys import VideoKeys
    from modal_gpu.media.frames import read_cropped_frames
    from modal_gpu.storage import ObjectStore

    with tempfile.TemporaryDirectory(prefix="extents-") as work:
        store = ObjectStore.from_url(Path(work).resolve().as_uri())
        keys = VideoKeys(str(uuid.uuid4()), str(uuid.uuid4()))
        store.upload(video, keys.video)
        extract_frames_and_ocr(
            ExtractRequest(keys.tenant_id, keys.video_id, keys.video), store, ComputeSettings()
        )
        crop: CropRegion = read_layout(store.get(keys.layout_db)).crop_region
        hints = strip_hints(store, keys, crop)
    return np.stack([frame.luma for frame in read_cropped_frames(video, crop)]), hints
