"""The tools: what each needs, how it is called, and its settings.

Every other tool gets the strip of the captions by hand, as from its users: the lower fifth or quarter of the
picture, or what its own options have nearest to that. ``captionacc extract`` finds the strip.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers.clips import Clip

RUNNERS = Path(__file__).parent / "runners"
OURS = "captionacc extract"


@dataclass(frozen=True)
class Call:
    """The parts of a command: the environment's programs, the clip, and the SubRip file to write."""

    programs: Path
    clip: Clip
    output: Path
    options: Sequence[str]

    def runner(self, name: str, *arguments: str) -> list[str]:
        """Return the call of one of ``runners`` in the tool's environment."""
        files = (str(self.clip.video), str(self.output))
        return [
            str(self.programs / "python"),
            str(RUNNERS / f"run_{name}.py"),
            *files,
            *arguments,
            *self.options,
        ]


@dataclass(frozen=True)
class Tool:
    """A tool.

    ``packages`` are installed from PyPI into an environment of its own; without any it runs in this one.
    ``settings`` are options by the setting's name, the default first. ``needs`` are commands of the system.
    ``times_given`` marks a tool that only reads pictures: it gets the true times.
    """

    name: str
    command: Callable[[Call], list[str]]
    settings: Mapping[str, Sequence[str]]
    packages: Sequence[str] = ()
    #: Installed without their dependencies, because only a part of them is used.
    alone: Sequence[str] = ()
    needs: Sequence[str] = ()
    times_given: bool = False
    note: str = ""
    #: Languages in Tesseract's names, for tools that need its data.
    tesseract: Mapping[str, str] = field(default_factory=dict)


def _ours(call: Call) -> list[str]:
    folder = str(call.output.parent)
    return [
        sys.executable,
        "-m",
        "captionacc_dagster",
        "extract",
        str(call.clip.video),
        "-o",
        folder,
        *call.options,
    ]


def _translator(call: Call) -> list[str]:
    language = {"en": "english", "zh": "chinese"}[call.clip.language]
    files = [str(call.clip.video), "--output", str(call.output), "--language", language]
    return [str(call.programs / "python"), "-m", "ocr_subtitles", *files, *call.options]


def _videocr(call: Call) -> list[str]:
    return call.runner("videocr", "--language", TESSERACT[call.clip.language])


def _tesseract(call: Call) -> list[str]:
    language = TESSERACT[call.clip.language]
    return call.runner("sampler", "--share", str(call.clip.strip), "--language", language)


TESSERACT = {"en": "eng", "zh": "chi_sim"}
RAPIDOCR = ("rapidocr==3.10.0", "onnxruntime==1.31.1")

TOOLS = (
    Tool(OURS, _ours, {"default": ()}, note="finds the strip by itself"),
    Tool(
        "cshortranslate 0.2.2",
        lambda call: call.runner("cshortranslate", "--region", f"bottom:{round(call.clip.strip * 100)}"),
        {"default": (), "8 pictures at once": ("--merge", "8")},
        ("cshortranslate==0.2.2", *RAPIDOCR),
        note="with PP-OCRv6 small of RapidOCR's wheel; the PP-OCRv5 that it asks for is a download",
    ),
    Tool(
        "video-translator-cli 0.1.5",
        _translator,
        {
            "default": (),
            "4 fps": ("--fps", "4", "--min-chars", "2", "--similarity", "0.9"),
        },
        ("rapidocr-onnxruntime==1.4.4",),
        ("video-translator-cli==0.1.5",),
        needs=("ffmpeg", "ffprobe"),
        note="its command `ocr_subtitles`; RapidOCR with PP-OCRv4",
    ),
    Tool(
        "videocr 0.1.6",
        _videocr,
        {"default": ()},
        ("videocr==0.1.6", "pytesseract==0.3.13", "opencv-python-headless<5", "setuptools<81", "wheel"),
        needs=("tesseract",),
        tesseract=TESSERACT,
        note="every frame, lower half; confidences rounded, because it stops at Tesseract 5's decimals",
    ),
    Tool(
        "script: Tesseract",
        _tesseract,
        {
            "default": ("--engine", "tesseract"),
            "white text only": ("--engine", "tesseract", "--enlarge", "3", "--brightness", "205"),
        },
        ("tesserocr==2.13.0", "opencv-python-headless<5", "rapidfuzz>=3"),
        needs=("tesseract",),
        tesseract=TESSERACT,
        note="10 pictures a second, similar texts merged",
    ),
    Tool(
        "script: RapidOCR",
        lambda call: call.runner("sampler", "--share", str(call.clip.strip)),
        {
            "default": ("--engine", "rapidocr"),
            "25 fps": ("--engine", "rapidocr", "--rate", "25"),
        },
        (*RAPIDOCR, "opencv-python-headless<5", "rapidfuzz>=3"),
        note="10 pictures a second by default, similar texts merged",
    ),
    Tool(
        "RapidVideOCR 3.1.1",
        lambda call: call.runner(
            "rapid_videocr", str(call.output.parent / "truth.json"), "--share", str(call.clip.strip)
        ),
        {"default": (), "batches": ("--batch",)},
        ("rapid-videocr==3.1.1", *RAPIDOCR, "opencv-python-headless<5"),
        times_given=True,
        note="OCR only: VideoSubFinder, which it needs for the times, cannot be had here",
    ),
)

#: Tools that were looked for, and why they are not measured.
NOT_MEASURED = {
    "VideOCR (timminator)": "only on GitHub; no package on PyPI, Debian or npm",
    "VideoSubFinder": "only as a download for Windows and Linux; no package",
    "video-subtitle-extractor": "only on GitHub; no package",
    "VidSubX": "only on GitHub; no package",
    "Subtitle Edit": "a desktop program on GitHub; no package in Debian",
    "shardsub 0.1.1": "its PP-OCRv5 server models come from a model hub",
    "video-ocr 0.0.2": "pins SciPy 1.8 and NumPy 1.22, which have no wheels for Python 3.11; writes no ends",
    "rust-ocr-transformer 0.2.2": "does not read video yet, and comes without models",
    "dysub 0.1.1": "recognises speech, not pictures",
}
