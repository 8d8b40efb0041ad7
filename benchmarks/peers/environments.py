"""A virtual environment for each tool, made once. Nothing is installed into the platform's own."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.peers.tools import Tool


class NotInstalledError(Exception):
    """A tool cannot be had on this machine; the message says why."""


def programs(tool: Tool, cache: Path) -> Path:
    """Return the folder of a tool's programs; its environment is made if it is not there or out of date.

    Raises :class:`NotInstalledError` if a command of the system is missing or a package cannot be installed.
    """
    for name in tool.needs:
        if shutil.which(name) is None:
            raise NotInstalledError(f"needs the command {name}, from the system's packages")
    if missing := sorted(set(tool.tesseract.values()) - _tesseract_languages(tool)):
        raise NotInstalledError(f"needs Tesseract's data of {', '.join(missing)}, from the system's packages")
    if not tool.packages:
        return Path(sys.executable).parent
    wanted = json.dumps([tool.packages, tool.alone])
    folder = cache / "environments" / hashlib.sha256(wanted.encode()).hexdigest()[:16]
    complete = folder / "packages.json"
    if not complete.exists():
        shutil.rmtree(folder, ignore_errors=True)
        _run([sys.executable, "-m", "venv", "--without-pip", str(folder)])
        _install(folder, *tool.packages)
        if tool.alone:
            _install(folder, "--no-deps", *tool.alone)
        complete.write_text(wanted)
    return folder / "bin"


def _tesseract_languages(tool: Tool) -> set[str]:
    if not tool.tesseract:
        return set()
    listed = subprocess.run(["tesseract", "--list-langs"], capture_output=True, text=True, check=True)
    return set(listed.stdout.splitlines()[1:])


def _install(folder: Path, *packages: str) -> None:
    """Install with uv where there is one, and with pip where uv cannot."""
    python = str(folder / "bin" / "python")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    if uv := shutil.which("uv", path=path):
        done = subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *packages])
        if done.returncode == 0:
            return
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    _run([*pip, "install", "--quiet", *packages])


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [
            done.stderr[-300:]
        ]
        raise NotInstalledError(f"cannot be installed: {lines[-1].removeprefix('ERROR: ').strip()}")
