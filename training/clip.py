"""A rendered clip with its ground truth, and its file format."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from modal_gpu.extents.predictor import StripHints

#: 10 Hz frames of a clip, and of a long one, whose own median separates captions from what stays, such as a
#: logo.
FRAMES, LONG_FRAMES = 64, 192
#: Hints that come from a video's other frames, which a clip does not have.
_NOT_STORED = ("observations", "samples")


@dataclass(frozen=True)
class Clip:
    """A clip. ``luma`` uint8 (frames, h, w) at working scale, unpadded; ``reference`` uint8 (h, w).

    ``owner`` int8 (frames,): the caption that a frame shows, as an index into ``glyphs``, or -1. ``opacity``
    uint8 (frames,), 0 to 255. ``glyphs`` uint8 (captions, ⌈h/2⌉, ⌈w/2⌉): the strokes.
    """

    luma: NDArray[np.uint8]
    reference: NDArray[np.uint8]
    owner: NDArray[np.int8]
    opacity: NDArray[np.uint8]
    glyphs: NDArray[np.uint8]
    hints: StripHints
    case: str
    script: str
    split: str
    seed: int
    texts: tuple[str, ...] = ()
    #: The strips at the video's own scale, uint8 (frames, H, W), if kept.
    source: NDArray[np.uint8] | None = None
    #: Every source frame, if kept.
    shown: "SourceFrames | None" = None

    def save(self, path: Path) -> None:
        hints = asdict(self.hints)
        for name in _NOT_STORED:
            del hints[name]
        meta = {
            "hints": hints,
            "case": self.case,
            "script": self.script,
            "split": self.split,
            "seed": self.seed,
            "texts": self.texts,
        }
        partial = path.with_suffix(".part")
        source = {} if self.source is None else {"source": self.source}
        if self.shown is not None:
            source |= {"shown_luma": self.shown.luma, "shown_owner": self.shown.owner}
            source |= {"shown_rate": np.array(self.shown.rate)}
        with partial.open("wb") as file:
            np.savez(
                file,
                luma=self.luma,
                reference=self.reference,
                owner=self.owner,
                opacity=self.opacity,
                glyphs=self.glyphs,
                meta=np.frombuffer(json.dumps(meta).encode(), np.uint8),
                **source,
            )
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> "Clip":
        with np.load(path) as data:
            meta = json.loads(data["meta"].tobytes())
            hints = meta.pop("hints")
            hints["ignore_boxes"] = tuple(tuple(box) for box in hints["ignore_boxes"])
            # Clips from before have them, empty.
            for name in _NOT_STORED:
                hints.pop(name, None)
            meta["texts"] = tuple(meta["texts"])
            names = ("luma", "reference", "owner", "opacity", "glyphs", "source")
            arrays = {name: data[name] for name in names if name in data}
            if "shown_luma" in data:
                rate = float(data["shown_rate"])
                arrays["shown"] = SourceFrames(data["shown_luma"], data["shown_owner"], rate)
        return cls(**arrays, hints=StripHints(**hints), **meta)


@dataclass(frozen=True)
class SourceFrames:
    """All source frames of a clip, at ``rate`` frames a second from 0 s.

    ``luma`` uint8 (n, h, w): small pictures, as the pipeline uses them to place changes. ``owner`` int8 (n,):
    the caption that each frame shows, however faint; of two, the more opaque one; -1 for none.
    """

    luma: NDArray[np.uint8]
    owner: NDArray[np.int8]
    rate: float

    def between(self, first: float, last: float) -> range:
        """Return the frames shown after ``first`` and up to ``last``, in seconds."""
        ends = (math.floor(at * self.rate + 1e-6) + 1 for at in (first, last))
        return range(*(min(max(0, end), len(self.owner)) for end in ends))

    def span(self, caption: int) -> tuple[float, float]:
        """Return when a caption appears and when it has disappeared, in seconds."""
        own = np.flatnonzero(self.owner == caption)
        return float(own[0] / self.rate), float((own[-1] + 1) / self.rate)
