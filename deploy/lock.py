"""Write the files of pinned requirements: ``python deploy/lock.py [--upgrade]``, or ``make lock``.

Each requirement is one exact version, for all platforms and Python versions from 3.11 on, with the SHA-256 of
each of its files on PyPI. Locked versions stay, unless pyproject.toml excludes them, or with ``--upgrade``.

========================================== ==================================================================
constraints.txt                            the project without extras, and what builds it: ``make demo``
constraints-dev.txt                        additions of the extras ``dev``, ``training``, ``k8s``; not torch
constraints-torch.txt                      torch as PyPI has it, with CUDA on Linux
deploy/requirements.txt                    the container image: the extra ``k8s``
deploy/requirements-uv.txt                 uv, which installs the others
modal_gpu/deployment/requirements.txt      the Modal image: the imports of ``modal_gpu``
modal_gpu/deployment/requirements-cuda.txt the same, with OCR on the GPU
========================================== ==================================================================

Install one torch file in addition to constraints-dev.txt: that one, or constraints-torch-cpu.txt, which is
maintained by hand. Needs ``uv``. Imports only the standard library, so that it runs in an empty environment.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: Resolved with the project, so that the build uses locked packages only.
BUILD = ("hatchling", "editables")
#: torch, and what its builds with CUDA need.
TORCH = re.compile(r"torch==|(nvidia|cuda)-|triton\b")
#: Everything is resolved for each platform at once, with one version of a package for all Python versions.
UNIVERSAL = ("--universal", "--fork-strategy", "fewest")
LINUX = ("--python-platform", "x86_64-manylinux_2_28")
MODAL = "modal_gpu/deployment/requirements"
UV_FILE = ROOT / "deploy" / "requirements-uv.txt"
CPU_BUILDS = ROOT / "constraints-torch-cpu.txt"
HEADER = "# Made by `make lock`: pip install --require-hashes takes exactly these files.\n"


def compiled(requirements: Iterable[str], *arguments: str, known: str, upgrade: bool) -> str:
    """Return requirements resolved by uv; ``known`` is an earlier result, whose versions are kept."""
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder, "requirements.in"), Path(folder, "requirements.txt")
        source.write_text("".join(f"{line}\n" for line in requirements))
        output.write_text(known)
        subprocess.run(
            [
                *(sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate"),
                "--no-strip-extras",  # With hashes, pip needs the extras of requirements too.
                *("--generate-hashes", "--python-version", "3.11", "--output-file", str(output)),
                *(["--upgrade"] if upgrade else []),
                *arguments,
                str(source),
            ],
            check=True,
            cwd=ROOT,
        )
        return output.read_text()


def blocks(text: str) -> list[str]:
    """Return each requirement with the lines of its hashes."""
    return re.findall(r"^[A-Za-z0-9].*(?:\n[ \t]+.*)*\n?", text, re.MULTILINE)


def head_of(block: str) -> str:
    """Return a requirement without its hashes: package, extras, version and marker."""
    return block.split("\\", maxsplit=1)[0].strip()


def check_cpu_builds(locked: str) -> None:
    """Exit if the CPU builds, whose hashes PyPI does not have, are of another version of torch."""
    version = version_in(locked, "torch")
    if f"\ntorch=={version}+cpu " not in CPU_BUILDS.read_text():
        sys.exit(f"{CPU_BUILDS} is not for torch {version}: replace the hashes as its first lines say")


def version_in(locked: str, name: str) -> str:
    """Return the locked version of a package."""
    return re.search(rf"^{re.escape(name)}==(\S+)", locked, re.MULTILINE).group(1)


def newest_with_cuda(upgrade: bool) -> str:
    """Return the version of ONNX Runtime's CUDA build, which appears later than the others."""
    known = (ROOT / f"{MODAL}-cuda.txt").read_text()
    return version_in(compiled(["onnxruntime-gpu"], *LINUX, known=known, upgrade=upgrade), "onnxruntime-gpu")


def write(file: str, wanted: Iterable[str]) -> None:
    (ROOT / file).write_text(HEADER + "".join(wanted))


def main(upgrade: bool) -> None:
    sys.path.insert(0, str(ROOT))
    from modal_gpu.deployment.image import PACKAGES, with_ocr_on_the_gpu

    files = [ROOT / f"constraints{part}.txt" for part in ("", "-dev", "-torch")]
    known = "".join(file.read_text() for file in files if file.exists())
    project = str(ROOT / "pyproject.toml")
    extras = [option for extra in ("dev", "training", "k8s") for option in ("--extra", extra)]
    wanted = [*BUILD, f"onnxruntime<={newest_with_cuda(upgrade)}"]
    everything = compiled(wanted, *UNIVERSAL, *extras, project, known=known, upgrade=upgrade)
    check_cpu_builds(everything)
    base = blocks(compiled(BUILD, *UNIVERSAL, project, known=everything, upgrade=False))
    write("constraints.txt", base)
    # A package that the project needs on Windows only may be an extra's requirement everywhere.
    known_heads = {head_of(block) for block in base}
    added = [block for block in blocks(everything) if head_of(block) not in known_heads]
    write("constraints-dev.txt", (block for block in added if not TORCH.match(block)))
    write("constraints-torch.txt", (block for block in added if TORCH.match(block)))

    image = compiled(BUILD, *UNIVERSAL, "--extra", "k8s", project, known=everything, upgrade=False)
    write("deploy/requirements.txt", blocks(image))
    known = UV_FILE.read_text() if UV_FILE.exists() else ""
    write("deploy/requirements-uv.txt", blocks(compiled(["uv"], *UNIVERSAL, known=known, upgrade=upgrade)))

    modal = compiled(PACKAGES, *LINUX, known=everything, upgrade=False)
    write(f"{MODAL}.txt", blocks(modal))
    on_gpu = with_ocr_on_the_gpu(version_in(modal, "onnxruntime"))
    write(f"{MODAL}-cuda.txt", blocks(compiled(on_gpu, *LINUX, known=everything, upgrade=False)))


if __name__ == "__main__":
    main(upgrade="--upgrade" in sys.argv[1:])
