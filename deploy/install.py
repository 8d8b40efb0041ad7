"""Set up an environment from the locked files: ``python deploy/install.py ENVIRONMENT [--dev]``.

Without ``--dev`` it installs what `make demo` needs; with it, what the tests and training need too. Each file
is checked by its hash. uv installs, from PyPI; pip does where uv is not to be had or finds a file missing.
Each step prints a line. Imports only the standard library.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
ROOT = Path(__file__).resolve().parent.parent
#: Nothing is resolved and nothing is built.
LOCKED = ("--require-hashes", "--no-deps", "--only-binary", ":all:")
#: pip's variables and what uv calls them.
FOR_UV = {
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
    "PIP_EXTRA_INDEX_URL": "UV_INDEX",
    "PIP_FIND_LINKS": "UV_FIND_LINKS",
    "PIP_CERT": "SSL_CERT_FILE",
}


class Environment:
    """A virtual environment and the installers in it."""

    def __init__(self, folder: Path) -> None:
        programs = folder / ("Scripts" if os.name == "nt" else "bin")
        self.folder = folder
        self.python = programs / ("python.exe" if os.name == "nt" else "python")
        self._uv = programs / ("uv.exe" if os.name == "nt" else "uv")
        self._environ = os.environ | {
            uv: os.environ[pip] for pip, uv in FOR_UV.items() if pip in os.environ and uv not in os.environ
        }

    def create(self) -> None:
        """Make the environment, or keep it where it is one."""
        _run([sys.executable, "-m", "venv", str(self.folder)])

    def add_uv(self) -> None:
        """Install uv. Without it, pip installs everything."""
        _attempt([*self._pip(), "install", *LOCKED, "-r", "deploy/requirements-uv.txt"])

    def install(self, *files: str) -> None:
        """Install requirement files with uv, or with pip if uv cannot."""
        if not self._with_uv(*files):
            _run([*self._pip(), "install", *LOCKED, *_options(files)])

    def install_first(self, *files: str) -> str:
        """Install the first of several requirement files that an index has; return its name."""
        for file in files[:-1]:
            if self._with_uv(file) or _attempt([*self._pip(), "install", *LOCKED, "-r", file]):
                return file
        self.install(files[-1])
        return files[-1]

    def add_project(self) -> None:
        """Install the project itself, editable."""
        _run([*self._pip(), "install", "--no-deps", "--no-build-isolation", "-e", "."])

    def add_wheel(self, wheel: Path) -> None:
        """Install a wheel of the project."""
        _run([*self._pip(), "install", "--no-deps", "--no-index", str(wheel)])

    def check(self) -> None:
        """End with an error if a package misses another one."""
        _run([*self._pip(), "check"])

    def _pip(self) -> list[str]:
        return [str(self.python), "-m", "pip", "--quiet", "--disable-pip-version-check"]

    def _with_uv(self, *files: str) -> bool:
        if not self._uv.exists():
            return False
        # Without a cache, which would be a second copy where the home is on another disk.
        # With bytecode, as pip compiles it: else the platform's first processes compile the same at once.
        options = ("--quiet", "--no-cache", "--compile-bytecode", "--python", str(self.python))
        return _attempt([str(self._uv), "pip", "install", *options, *LOCKED, *_options(files)], self._environ)


def _options(files: Sequence[str]) -> list[str]:
    return [option for file in files for option in ("-r", file)]


def _run(command: list[str]) -> None:
    done = subprocess.run(command, cwd=ROOT)
    if done.returncode:
        sys.exit(f"set-up failed at: {' '.join(command)}")


def _attempt(command: list[str], environ: dict[str, str] | None = None) -> bool:
    """Return whether a command succeeded; print the last line of its errors if it failed."""
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, errors="replace")
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1].strip()
        print(f"\n  {Path(command[0]).name} failed ({reason}); falling back …", end=" ", flush=True)
    return done.returncode == 0


def step(what: str, action: Callable[[], T]) -> T:
    """Print what is done and then how long it took; return the result, which is printed if it is text."""
    print(f"{what} …", end=" ", flush=True)
    start = time.monotonic()
    result = action()
    detail = f"{result}, " if isinstance(result, str) else ""
    print(f"{detail}{time.monotonic() - start:.0f} s", flush=True)
    return result


def main(folder: Path, *, dev: bool) -> None:
    """Set up ``folder``."""
    if sys.version_info < (3, 11):  # noqa: UP036 - for whoever runs it with another Python
        sys.exit(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}")
    environment = Environment(folder.absolute())
    if not dev:
        step(f"Creating the environment {folder}", environment.create)
        step("Installing uv", environment.add_uv)
        step("Installing the packages of constraints.txt", lambda: environment.install("constraints.txt"))
        step("Installing the project", environment.add_project)
    else:
        step(
            "Installing the packages of constraints-dev.txt",
            lambda: environment.install("constraints-dev.txt"),
        )
        torch = ("constraints-torch-cpu.txt", "constraints-torch.txt")
        step(
            "Installing PyTorch, its CPU build if an index has it", lambda: environment.install_first(*torch)
        )
    step("Checking the packages", environment.check)


if __name__ == "__main__":
    main(Path(sys.argv[1]), dev="--dev" in sys.argv[2:])
