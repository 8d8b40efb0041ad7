"""The container image: the packages that this code imports, at the versions of the project's lock.

torch is PyPI's own Linux build, which brings CUDA 13 and cuDNN as wheels; Modal's machines bring the
driver, so the plain Debian image needs no CUDA of its own. RapidOCR runs on the CPU build of
onnxruntime: it reads a 720p frame in a quarter of a core's second, gives the same text as on a laptop,
and needs no 300 MB of CUDA kernels at each cold start. ``MODAL_OCR_CUDA=true`` takes onnxruntime-gpu of
the same version instead, which uses the CUDA libraries that torch brought.
"""

import importlib.metadata
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from modal_gpu.errors import ConfigurationError

PYTHON_VERSION = "3.11"
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
#: Beside the code, these go into the image: the shipped model.
DATA_SUFFIXES = (".safetensors", ".json")

#: In the wheel, and in a checkout.
_LOCKS = (
    Path(__file__).parent / "_constraints.txt",
    Path(__file__).parent.parent / "constraints.txt",
)
_CONTAINER = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": f"{PYTHON_VERSION}.0",
    "python_version": PYTHON_VERSION,
    "sys_platform": "linux",
}


def locked_versions(text: str) -> dict[str, str]:
    """Version by canonical package name, from lines ``name==version``."""
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;#]+)", text, re.MULTILINE)
    return {canonicalize_name(name): version for name, version in pins}


def read_lock() -> dict[str, str]:
    """The project's lock. Raises :class:`ConfigurationError` when the file is not there."""
    for path in _LOCKS:
        if path.is_file():
            return locked_versions(path.read_text())
    raise ConfigurationError(f"there is no {_LOCKS[-1]}: deploy from a checkout or install the wheel")


def pinned_packages(names: Iterable[str], lock: Mapping[str, str]) -> list[str]:
    """``name==version`` of these packages and of all that they need, sorted.

    What they need is read from the packages installed here, as a Linux container sees it. Needs that
    the lock does not hold, such as the CUDA libraries of torch, are pinned by their own package.
    Raises :class:`ConfigurationError` when a package itself is not in the lock.
    """
    environment = {**default_environment(), **_CONTAINER}
    pins: dict[str, str] = {}
    open_ = [Requirement(name) for name in names]
    for requirement in open_:
        if canonicalize_name(requirement.name) not in lock:
            raise ConfigurationError(f"{requirement.name} is not in constraints.txt: run `make lock`")
    seen: set[tuple[str, frozenset[str]]] = set()
    while open_:
        requirement = open_.pop()
        name = canonicalize_name(requirement.name)
        key = name, frozenset(requirement.extras)
        if key in seen or name not in lock:
            continue
        seen.add(key)
        pins[name] = lock[name]
        for text in importlib.metadata.requires(name) or ():
            need = Requirement(text)
            extras = ("", *requirement.extras)
            if need.marker is None or any(need.marker.evaluate({**environment, "extra": e}) for e in extras):
                open_.append(need)
    return [f"{name}=={version}" for name, version in sorted(pins.items())]


def image_packages(*, ocr_cuda: bool = False) -> list[str]:
    """What the image installs, pinned. Raises :class:`ConfigurationError` without a usable lock."""
    pins = pinned_packages(PACKAGES, read_lock())
    if ocr_cuda:
        return [pin.replace("onnxruntime==", "onnxruntime-gpu==") for pin in pins]
    return pins


def is_left_out(path: Path) -> bool:
    """Whether a file of the package stays out of the container."""
    return path.suffix not in (".py", *DATA_SUFFIXES)
