"""Prints the project's requirements, one a line: ``python requirements.py pyproject.toml [EXTRA…]``.

So that the container image installs them in a layer of their own, before it has the code.
"""

import sys
import tomllib
from pathlib import Path


def requirements(pyproject: Path, extras: list[str]) -> list[str]:
    """The dependencies and those of the extras. Raises :class:`KeyError` for an extra that is not there."""
    project = tomllib.loads(pyproject.read_text())["project"]
    optional = project["optional-dependencies"]
    return project["dependencies"] + [line for extra in extras for line in optional[extra]]


if __name__ == "__main__":
    sys.stdout.write("".join(f"{line}\n" for line in requirements(Path(sys.argv[1]), sys.argv[2:])))
