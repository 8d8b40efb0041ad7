"""The container image: a base image pinned by digest, and the imported packages, pinned by hash.

torch is PyPI's Linux build, which installs CUDA 13 and cuDNN as wheels. Modal's machines have the driver, so
the plain Debian image needs no CUDA; PyAV's wheel finds the driver's NVDEC. RapidOCR runs on the CPU build of
onnxruntime: docs/explanation/costs.md has its core seconds, it returns the same text as locally, and it loads
no 300 MB of CUDA kernels at each cold start. ``MODAL_OCR_CUDA=true`` installs onnxruntime-gpu of the same
version instead, which uses torch's CUDA libraries.

``make lock`` imports this module before anything is installed: use only the standard library here.
"""

from pathlib import Path

#: Python 3.11 on Debian 12, for x86-64 and ARM; also the base of deploy/Containerfile.
BASE_IMAGE = (
    "python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b"
)
#: The packages that this package imports, for all functions.
PACKAGES = (
    "av",
    "google-cloud-vision",
    "grpcio",
    "httpx",
    "langcodes",
    "numpy",
    "obstore",
    "onnxruntime",
    "opencv-python-headless",
    "pillow",
    "pydantic",
    "pydantic-settings",
    "pysubs2",
    "python-bidi",
    "pyyaml",
    "rapidfuzz",
    "rapidocr",
    "safetensors",
    "tenacity",
    "torch",
)
#: Suffixes of the data files in the image: the shipped model, for CUDA and for CPUs.
DATA_SUFFIXES = (".safetensors", ".onnx", ".json")
#: Install exactly the locked packages: no resolving, no building, nothing without a hash.
INSTALL_OPTIONS = "--require-hashes --no-deps --only-binary :all:"

_FOLDER = Path(__file__).parent


def with_ocr_on_the_gpu(version: str) -> tuple[str, ...]:
    """Return :data:`PACKAGES` with the CUDA build of onnxruntime, at ``version``."""
    return tuple(f"onnxruntime-gpu=={version}" if name == "onnxruntime" else name for name in PACKAGES)


def requirements_file(*, ocr_cuda: bool = False) -> Path:
    """Return the path of the image's locked requirements, which ``make lock`` writes."""
    return _FOLDER / ("requirements-cuda.txt" if ocr_cuda else "requirements.txt")


def is_left_out(path: Path) -> bool:
    """Return whether a file of the package is excluded from the image."""
    return path.suffix not in (".py", *DATA_SUFFIXES)
