"""RapidVideOCR's OCR on the middle picture of each true caption, named as by VideoSubFinder."""

import argparse
import json
import shutil
import tempfile
from pathlib import Path

import cv2
from rapid_videocr import RapidVideOCR, RapidVideOCRInput


def stamp(seconds: float) -> str:
    """Return a time as it stands in the name of a picture."""
    whole = round(seconds * 1000)
    return f"{whole // 3600000}_{whole // 60000 % 60:02}_{whole // 1000 % 60:02}_{whole % 1000:03}"


def main() -> None:
    """Cut the pictures, run the OCR, and write a SubRip file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("video")
    parser.add_argument("output", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("--share", type=float, default=0.22)
    parser.add_argument("--batch", action="store_true")
    given = parser.parse_args()
    wanted = [(start, end) for start, end in json.loads(given.truth.read_text())]
    capture = cv2.VideoCapture(given.video)
    rate = capture.get(cv2.CAP_PROP_FPS)
    middles = {round((start + end) / 2 * rate): (start, end) for start, end in wanted}
    with tempfile.TemporaryDirectory() as folder:
        pictures, results = Path(folder, "RGBImages"), Path(folder, "results")
        pictures.mkdir()
        index = 0
        while capture.grab():
            if index in middles:
                _, frame = capture.retrieve()
                start, end = middles[index]
                strip = frame[round(frame.shape[0] * (1 - given.share)) :]
                cv2.imwrite(str(pictures / f"{stamp(start)}__{stamp(end)}_0.jpeg"), strip)
            index += 1
        RapidVideOCR(RapidVideOCRInput(is_batch_rec=given.batch, out_format="srt"))(
            str(pictures), str(results), "result"
        )
        shutil.copy(results / "result.srt", given.output)


if __name__ == "__main__":
    main()
