"""The container image: a base image by its digest, and the packages that this code imports, by their hashes.

torch is PyPI's own Linux build, which brings CUDA 13 and cuDNN as wheels; Modal's machines bring the
driver, so the plain Debian image needs no CUDA of its own. RapidOCR runs on the CPU build of
onnxruntime: it reads a 720p frame in a quarter of a core's second, gives the same text as on a laptop,
and needs no 300 MB of CUDA kernels at each cold start. ``MODAL_OCR_CUDA=true`` takes onnxruntime-gpu of
the same version instead, which uses the CUDA libraries that torch brought.

``make lock`` imports this module where nothing is installed: only the standard library here.
"""

from pathlib import Path

#: Python 3.11 on Debian 12, for x86-64 and ARM; the base of deploy/Containerfile too.
BASE_IMAGE = (
    "python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b"
)
#: What this package imports, whichever function runs.
PACKAGES = (
    "av",
    "google-cloud-vision",
    "grpcio",
    "numpy",
    "obstore",
    "onnxruntime",
    "opencv-python-headless",
    "pillow",
    "pydantic",
    "pydantic-settings",
    "pysubs2",
    "rapidfuzz",
    "rapidocr",
    "safetensors",
    "tenacity",
    "torch",
)
#: Beside the code, these go into the image: the shipped model, for CUDA and for CPUs.
DATA_SUFFIXES = (".safetensors", ".onnx", ".json")
#: The locked packages are all there is: nothing is resolved, nothing built, nothing without its hash.
INSTALL_OPTIONS = "--require-hashes --no-deps --only-binary :all:"

_FOLDER = Path(__file__).parent


def with_ocr_on_the_gpu(version: str) -> tuple[str, ...]:
    """:data:`PACKAGES` with the CUDA build of onnxruntime, at a version."""
    return tuple(f"onnxruntime-gpu=={version}" if name == "onnxruntime" else name for name in PACKAGES)


def requirements_file(*, ocr_cuda: bool = False) -> Path:
    """The locked requirements of the image (``make lock`` writes them)."""
    return _FOLDER / ("requirements-cuda.txt" if ocr_cuda else "requirements.txt")


def is_left_out(path: Path) -> bool:
    """Whether a file of the package stays out of the container."""
    return path.suffix not in (".py", *DATA_SUFFIXES)
