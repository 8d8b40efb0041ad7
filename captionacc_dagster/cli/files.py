"""Writing output files: atomically, and replacing an existing file only with ``--force``."""

import stat
import uuid
from pathlib import Path
from typing import Annotated

import typer

from modal_gpu.errors import CaptionAccError

Force = Annotated[bool, typer.Option("--force", help="replace existing files")]


class OutputFileError(CaptionAccError):
    """An output file cannot or must not be written."""


def check_output(path: Path, *, force: bool) -> None:
    """Raise :class:`OutputFileError` for a folder, and for an existing file unless ``force``."""
    if path.is_dir():
        raise OutputFileError(f"{path} is a folder: give a file name")
    if not force and not is_stream(path) and (path.is_file() or path.is_symlink()):
        raise OutputFileError(f"{path} exists already and was kept: `--force` replaces it")


def write_output(path: Path, data: bytes, *, force: bool) -> None:
    """Write ``data`` atomically. A file with the same contents is left alone.

    Raises :class:`OutputFileError` as :func:`check_output` does, and ``OSError`` from the file system; an
    existing file is then kept.
    """
    if is_stream(path):
        path.write_bytes(data)
        return
    if path.is_file() and path.read_bytes() == data:
        return
    check_output(path, force=force)
    target = path.resolve()
    partial = target.with_name(f".{uuid.uuid4().hex}.part")
    try:
        partial.write_bytes(data)
        if target.exists():
            partial.chmod(stat.S_IMODE(target.stat().st_mode))
        partial.replace(target)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        partial.unlink(missing_ok=True)


def is_stream(path: Path) -> bool:
    """Return whether the path is a device or a pipe. /dev/stdout counts even if redirected to a file."""
    return path.is_relative_to("/dev") or (path.exists() and not path.is_file() and not path.is_dir())
