"""A rendered clip with its truth, and its file."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from modal_gpu.extents.predictor import StripHints

#: 10 Hz frames a clip, and a long one, whose own median tells what stays, such as a logo, from captions.
FRAMES, LONG_FRAMES = 64, 192


@dataclass(frozen=True)
class Clip:
    """``luma`` uint8 (frames, h, w) at working scale, unpadded; ``reference`` uint8 (h, w).

    ``owner`` int8 (frames,): the caption that a frame shows, an index into ``glyphs``, -1 for none;
    ``opacity`` uint8 (frames,), of 255. ``glyphs`` uint8 (captions, ⌈h/2⌉, ⌈w/2⌉): where the strokes are.
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
    #: The strips at the video's own scale, uint8 (frames, H, W), where they are kept.
    source: NDArray[np.uint8] | None = None
    #: Every source frame, where they are kept.
    shown: "SourceFrames | None" = None

    def save(self, path: Path) -> None:
        meta = {
            "hints": asdict(self.hints),
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
            hints["observations"] = hints["samples"] = ()
            meta["texts"] = tuple(meta["texts"])
            names = ("luma", "reference", "owner", "opacity", "glyphs", "source")
            arrays = {name: data[name] for name in names if name in data}
            if "shown_luma" in data:
                rate = float(data["shown_rate"])
                arrays["shown"] = SourceFrames(data["shown_luma"], data["shown_owner"], rate)
        return cls(**arrays, hints=StripHints(**hints), **meta)


@dataclass(frozen=True)
class SourceFrames:
    """All source frames of a clip, ``rate`` a second from 0 s on.

    ``luma`` uint8 (n, h, w): small pictures of them, as the pipeline takes them to place changes;
    ``owner`` int8 (n,): the caption that each shows, however faint; the more opaque one of two; -1 for none.
    """

    luma: NDArray[np.uint8]
    owner: NDArray[np.int8]
    rate: float

    def between(self, first: float, last: float) -> range:
        """Those shown after ``first`` until ``last``, in seconds."""
        ends = (math.floor(at * self.rate + 1e-6) + 1 for at in (first, last))
        return range(*(min(max(0, end), len(self.owner)) for end in ends))

    def span(self, caption: int) -> tuple[float, float]:
        """When a caption begins and when it is gone, in seconds."""
        own = np.flatnonzero(self.owner == caption)
        return float(own[0] / self.rate), float((own[-1] + 1) / self.rate)
