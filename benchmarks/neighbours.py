"""``python -m benchmarks.neighbours``: 24 nearly identical captions in direct succession.

The clip is generated here: numbered steps, rooms and lines that differ in one character, some half a second
long, all without gaps, at 360p and CRF 33 over moving pictures with hard cuts. A logo is inside the caption
strip throughout, and belongs to none of the captions.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image, ImageDraw, ImageFont

from benchmarks.metrics import Caption, figures, match, normalised
from benchmarks.quality import differences, quality_table
from captionacc_dagster.demo.scenes import Frame, background
from captionacc_dagster.demo.video import write_video

WIDTH, HEIGHT, FPS, CRF = 640, 360, 25, 33
LOGO = "KXTV"
#: Texts and seconds, in direct succession from :data:`FIRST_START` on.
SERIES = (
    *((f"Step {number} of 9: turn the wheel.", 0.5 if number % 2 else 1.2) for number in range(1, 9)),
    *((f"Room {number} is on your left.", 0.52 if number % 3 else 1.4) for number in range(214, 222)),
    *((f"He {verb} it to me.", 0.6 if verb in ("save", "said") else 1.1) for verb in ("gave", "save")),
    *((f"We meet at {hour}:45 today.", 0.8) for hour in (5, 6, 8)),
    *((f"{name} is late again.", 0.5 if name == "Jim" else 1.3) for name in ("Jim", "Tim", "Kim")),
)
FIRST_START = 1.0


def captions() -> list[Caption]:
    """Return the truth, on frame boundaries."""
    found, start = [], FIRST_START
    for text, seconds in SERIES:
        end = round((start + seconds) * FPS) / FPS
        found.append(Caption(start, end, text))
        start = end
    return found


def make_clip(path: Path) -> list[Caption]:
    """Write the clip (H.264 in MP4), and return its truth."""
    truth = captions()
    count = round((truth[-1].end_s + 1) * FPS)
    layers = [np.asarray(_drawn(caption.text), np.float32) for caption in truth]
    logo = np.asarray(_drawn_logo(), np.float32)

    def pictures() -> Iterator[Frame]:
        for index, drawn in enumerate(background(WIDTH, HEIGHT, count, FPS, seed=7)):
            frame = _over(drawn.astype(np.float32), logo)
            for caption, layer in zip(truth, layers, strict=True):
                if caption.start_s <= index / FPS + 1e-6 < caption.end_s:
                    frame = _over(frame, layer)
            yield np.clip(frame + 0.5, 0, 255).astype(np.uint8)

    write_video(path, pictures(), (WIDTH, HEIGHT), FPS, crf=CRF, preset="medium")
    return truth


def _over(frame: np.ndarray, layer: np.ndarray) -> np.ndarray:
    alpha = layer[..., 3:] / 255
    return frame * (1 - alpha) + layer[..., :3] * alpha


def _drawn(text: str) -> Image.Image:
    image = Image.new("RGBA", (WIDTH, HEIGHT))
    font = ImageFont.load_default(HEIGHT * 0.062)
    place = {"xy": (WIDTH / 2, HEIGHT * 0.92), "text": text, "font": font, "anchor": "ms"}
    ImageDraw.Draw(image).text(**place, fill=(255, 255, 255), stroke_width=2, stroke_fill=(12, 12, 16))
    return image


def _drawn_logo() -> Image.Image:
    """Draw the logo on the captions' own line, at the left."""
    image = Image.new("RGBA", (WIDTH, HEIGHT))
    font = ImageFont.load_default(HEIGHT * 0.05)
    place = {"xy": (WIDTH * 0.035, HEIGHT * 0.918), "text": LOGO, "font": font, "anchor": "ls"}
    ImageDraw.Draw(image).text(**place, fill=(255, 255, 255, 220))
    return image


def separated(truth: list[Caption], found: list[Caption]) -> int:
    """Count the captions that were found with their own text, one to one."""
    return sum(pair.text_is_exact for pair in match(truth, found).pairs)


def with_logo(found: list[Caption]) -> int:
    """Count the captions that include the logo in their text."""
    return sum(LOGO.lower() in normalised(caption.text).lower() for caption in found)


def main(
    keep: Annotated[Path | None, typer.Option(help="Also keep the clip here (MP4).")] = None,
    details: Annotated[bool, typer.Option(help="List what differs from the truth.")] = False,
) -> None:
    """Make the clip, run the pipeline on it, and print the counts."""
    from rich.console import Console

    from benchmarks.pipeline import run_pipeline

    console = Console(width=110)
    with tempfile.TemporaryDirectory(prefix="neighbours-") as work:
        video = keep or Path(work) / "neighbours.mp4"
        truth = make_clip(video)
        found = run_pipeline(video, Path(work) / "bucket")
    matching = match(truth, found)
    console.print(quality_table(figures(matching), f"{len(truth)} neighbours, {WIDTH}×{HEIGHT}, CRF {CRF}"))
    console.print(f"separated with their own text: {separated(truth, found)} of {len(truth)}")
    console.print(f"with the logo in their text: {with_logo(found)}")
    if details:
        console.print(differences(matching))


if __name__ == "__main__":
    typer.run(main)
