"""The script that people write: pictures at a fixed rate, OCR of the lower strip, similar texts merged.

Runs in an environment with OpenCV, RapidFuzz, and RapidOCR or tesserocr.
"""

import argparse
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from rapidfuzz import fuzz

Reader = Callable[[np.ndarray], str]
#: From this similarity on, of 100, two readings are one caption.
ALIKE = 80


def strips(video: str, rate: float, share: float) -> Iterator[tuple[float, np.ndarray]]:
    """Yield the time in seconds and the lower strip (h, w, 3) of pictures ``1 / rate`` seconds apart."""
    capture = cv2.VideoCapture(video)
    step, due = capture.get(cv2.CAP_PROP_FPS) / rate, 0.0
    index = 0
    while True:
        read, frame = capture.read()
        if not read:
            return
        if index + 1e-6 >= due:
            yield index / capture.get(cv2.CAP_PROP_FPS), frame[round(frame.shape[0] * (1 - share)) :]
            due += max(1.0, step)
        index += 1


def rapidocr_reader() -> Reader:
    """Return RapidOCR as it is fastest: one thread, and strips as large as they are.

    By default it scales strips up, to 5888 × 736, and its threads wait actively for each other.
    """
    from rapidocr import RapidOCR

    size = {"Det.limit_type": "max", "Det.limit_side_len": 1280}
    threads = {f"EngineConfig.onnxruntime.{kind}_op_num_threads": 1 for kind in ("intra", "inter")}
    engine = RapidOCR(params={"Global.log_level": "error", **size, **threads})

    def read(strip: np.ndarray) -> str:
        found = engine(strip)
        return " ".join(found.txts) if found.txts else ""

    return read


def tesseract_reader(language: str, enlarge: int, brightness: int) -> Reader:
    """Return Tesseract with the system's data, on strips as they are, or enlarged and thresholded."""
    import tesserocr

    listed = subprocess.run(["tesseract", "--list-langs"], capture_output=True, text=True, check=True).stdout
    data = listed.partition('"')[2].partition('"')[0]
    engine = tesserocr.PyTessBaseAPI(path=data, lang=language, psm=tesserocr.PSM.SINGLE_BLOCK)

    def read(strip: np.ndarray) -> str:
        grey = cv2.cvtColor(strip, cv2.COLOR_BGR2GRAY)
        if brightness:
            grey = np.where(grey > brightness, 0, 255).astype(np.uint8)
        if enlarge > 1:
            grey = cv2.resize(grey, None, fx=enlarge, fy=enlarge, interpolation=cv2.INTER_CUBIC)
        height, width = grey.shape
        engine.SetImageBytes(np.ascontiguousarray(grey).tobytes(), width, height, 1, width)
        text = " ".join(engine.GetUTF8Text().split())
        return text if engine.MeanTextConf() >= 60 else ""

    return read


def merged(samples: list[tuple[float, str]], step: float) -> list[tuple[float, float, str]]:
    """Return captions as (start, end, text): runs of similar texts, each with its most frequent one."""
    captions: list[tuple[float, float, Counter[str]]] = []
    last = ""
    for time, text in samples:
        if text and last and fuzz.ratio(text, last) >= ALIKE:
            start, _, texts = captions[-1]
            texts[text] += 1
            captions[-1] = (start, time + step, texts)
        elif text:
            captions.append((time, time + step, Counter([text])))
        last = text
    return [(start, end, texts.most_common(1)[0][0]) for start, end, texts in captions]


def stamp(seconds: float) -> str:
    """Return a time as SubRip writes it."""
    whole = round(seconds * 1000)
    return f"{whole // 3600000:02}:{whole // 60000 % 60:02}:{whole // 1000 % 60:02},{whole % 1000:03}"


def main() -> None:
    """Read a video and write a SubRip file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("video")
    parser.add_argument("output", type=Path)
    parser.add_argument("--engine", choices=["rapidocr", "tesseract"], required=True)
    parser.add_argument("--rate", type=float, default=10.0)
    parser.add_argument("--share", type=float, default=0.22)
    parser.add_argument("--language", default="eng")
    parser.add_argument("--enlarge", type=int, default=1)
    parser.add_argument("--brightness", type=int, default=0)
    given = parser.parse_args()
    if given.engine == "rapidocr":
        read = rapidocr_reader()
    else:
        read = tesseract_reader(given.language, given.enlarge, given.brightness)
    samples = [(time, read(strip)) for time, strip in strips(given.video, given.rate, given.share)]
    lines = [
        f"{number}\n{stamp(start)} --> {stamp(end)}\n{text}\n"
        for number, (start, end, text) in enumerate(merged(samples, 1 / given.rate), 1)
    ]
    given.output.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
