"""The videos that a command line names: files, folders with all below them, and patterns."""

import glob
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from captionacc_dagster.constants import VIDEO_SUFFIXES
from modal_gpu.errors import CaptionAccError


class InputFileError(CaptionAccError):
    """A file given on the command line cannot be read as a video."""


@dataclass(frozen=True)
class Input:
    """A video; ``folder`` is its place below the folder that was named, for outputs elsewhere."""

    path: Path
    folder: Path = Path()

    @property
    def stem(self) -> str:
        """The name without a video's extension."""
        return self.path.stem if self.path.suffix.lower() in VIDEO_SUFFIXES else self.path.name


@dataclass
class Inputs:
    """The videos in the order of the command line, each once; ``refused`` names with a reason."""

    videos: list[Input] = field(default_factory=list)
    refused: list[tuple[Path, str]] = field(default_factory=list)


def find_videos(names: Sequence[Path]) -> Inputs:
    """Return the videos that files, folders and patterns name.

    A folder stands for the videos in it and below, in the order of their names; hidden ones are left out.
    A name that does not exist and has a wildcard is a pattern, as a shell would expand it; ``**`` matches
    folders at any depth. Files are not checked: :func:`check_video` does that.
    """
    found, seen = Inputs(), set()
    for name in names:
        videos = list(_videos_of(name))
        if not videos:
            found.refused.append((name, "the folder has no videos" if _is_folder(name) else "no match"))
        for video in videos:
            if (real := os.path.realpath(video.path)) not in seen:
                seen.add(real)
                found.videos.append(video)
    return found


def _videos_of(name: Path) -> Iterator[Input]:
    if _is_folder(name):
        for path in videos_in(name):
            yield Input(path, path.relative_to(name).parent)
    elif glob.has_magic(str(name)) and not os.path.lexists(name):
        # Path.glob takes no absolute pattern.
        for match in map(Path, sorted(glob.glob(str(name), recursive=True))):  # noqa: PTH207
            yield from _videos_of(match) if _is_folder(match) else (Input(match),)
    else:
        yield Input(name)


def _is_folder(path: Path) -> bool:
    with suppress(OSError):  # a name that is too long
        return path.is_dir()
    return False


def videos_in(folder: Path) -> list[Path]:
    """Return the videos in a folder and below, sorted; without hidden files and folders."""
    paths = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths += [
            Path(parent, name)
            for name in files
            if not name.startswith(".") and Path(name).suffix.lower() in VIDEO_SUFFIXES
        ]
    return sorted(paths)


def check_video(file: Path) -> os.stat_result:
    """Return a file's facts. Raises :class:`InputFileError` unless it is a regular file with content."""
    try:
        facts = file.stat()
    except FileNotFoundError:
        raise InputFileError("no such file") from None
    if not stat.S_ISREG(facts.st_mode):
        raise InputFileError("not a regular file" if not stat.S_ISDIR(facts.st_mode) else "is a folder")
    if facts.st_size == 0:
        raise InputFileError("is empty")
    return facts
