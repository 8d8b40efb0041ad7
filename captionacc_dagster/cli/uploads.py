"""Upload of files: new ones are stored and registered, known ones are found, bad ones are refused."""

import hashlib
import os
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from captionacc_dagster.cli.app import Parts
from captionacc_dagster.cli.inputs import InputFileError, check_video
from captionacc_dagster.cli.root import StoppedError, note, notes, printable
from captionacc_dagster.resources.catalog import CatalogUnavailableError, UnknownVideoError, VideoRow
from modal_gpu.errors import CaptionAccError
from modal_gpu.keys import VideoKeys

_BLOCK = 4 * 1024 * 1024
#: Size in bytes from which reading and uploading a file each print a line where there is no terminal.
_LARGE = 100_000_000


@dataclass
class Arrivals:
    """The result of one command's files."""

    #: The files' videos, in the order of the files, without repeats.
    rows: list[VideoRow] = field(default_factory=list)
    #: Files that were already known, each with its video.
    known: list[tuple[Path, VideoRow]] = field(default_factory=list)
    #: Files that were not uploaded, each with the reason.
    refused: list[tuple[Path, str]] = field(default_factory=list)
    #: True if the catalogue or the bucket failed: the refused files may be accepted later.
    is_cut_off: bool = False

    def add(self, file: Path, row: VideoRow, *, is_new: bool) -> None:
        """Add a file's video."""
        if not is_new:
            self.known.append((file, row))
        if all(row.video_id != other.video_id for other in self.rows):
            self.rows.append(row)

    def print_notes(self) -> None:
        """Print a line for each file that was known or refused."""
        for file, row in self.known:
            note(already_here(file, row))
        for file, reason in self.refused:
            text = escape(printable(f"{file}: {reason}"))
            notes.print(f"[red]✗[/] {text}", highlight=False, soft_wrap=True)


def already_here(file: Path, row: VideoRow) -> str:
    """Describe a file whose content the catalogue knows, with what to do."""
    short = row.short_id
    also = "" if row.display_path == printable(file.name) else f" ({row.display_path})"
    known = f"{file} was already uploaded as {short}{also}"
    if any(row.stage(stage).status == "error" for stage in ("layout", "boundaries", "text")):
        return f"{known}, which failed: use `captionacc retry {short}` or `--again`"
    return f"{known}; `--again` processes it again"


def upload(here: Parts, files: Sequence[Path], *, again: bool = False) -> Arrivals:
    """Upload files under new ids and register them.

    Files that the tenant already has are skipped unless ``again``. A file that cannot be read is refused, and
    the others continue. If the catalogue or the bucket fails, the remaining files are refused too. Raises
    :class:`StoppedError` for Ctrl-C.
    """
    arrivals = Arrivals()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    # Without a terminal, the bar would print an empty line at the end.
    with Progress(*columns, console=notes, transient=True, disable=not notes.is_terminal) as bar:
        for number, file in enumerate(files):
            try:
                row, is_new = _upload_one(here, file, bar, again=again)
                arrivals.add(file, row, is_new=is_new)
            except InputFileError as error:
                arrivals.refused.append((file, str(error)))
            except OSError as error:
                arrivals.refused.append((file, error.strerror or str(error)))
            except CaptionAccError as error:
                arrivals.is_cut_off = True
                arrivals.refused.append((file, str(error)))
                arrivals.refused += [(rest, "not tried after this error") for rest in files[number + 1 :]]
                break
            except KeyboardInterrupt:
                raise StoppedError(
                    f"Stopped: {number} of {len(files)} files are uploaded; the same command goes on."
                ) from None
    return arrivals


def _upload_one(here: Parts, file: Path, bar: Progress, *, again: bool) -> tuple[VideoRow, bool]:
    """Upload one file. Return its video, and whether it is new."""
    facts = check_video(file)
    name = escape(printable(file.name))
    task = bar.add_task(f"reading {name}", total=facts.st_size)
    says_steps = facts.st_size >= _LARGE and not notes.is_terminal
    try:
        if says_steps:
            note(f"{file.name}: reading")
        sha256 = _sha256(file, lambda done: bar.update(task, completed=done))
        tenant_id = str(here.settings.tenant_id)
        if not again and (known := here.catalog.find_content(tenant_id, sha256)) is not None:
            return known, False
        bar.reset(task, description=f"uploading {name}", total=None)
        if says_steps:
            note(f"{file.name}: uploading")
        keys = VideoKeys(tenant_id, str(uuid.uuid4()))
        here.object_store.upload(file, keys.video, content_type="video/mp4")
        row = _register(here, file, keys, facts, sha256, again=again)
    finally:
        bar.remove_task(task)
    is_new = row.video_id == keys.video_id
    if not is_new:
        # Another command has uploaded the same file meanwhile.
        here.object_store.delete(keys.video)
    return row, is_new


def _register(
    here: Parts, file: Path, keys: VideoKeys, facts: os.stat_result, sha256: str, *, again: bool
) -> VideoRow:
    """Register an uploaded file in the catalogue, and remove the object if that fails."""
    try:
        if _moment(check_video(file)) != _moment(facts):
            raise InputFileError("the file changed during the upload: try again when it is complete")
        return here.catalog.register_video(
            keys.tenant_id,
            keys.video_id,
            keys.video,
            size_bytes=facts.st_size,
            display_path=file.name,
            content_sha256=sha256,
            again=again,
        )
    except BaseException as error:
        row = _take_back(here, keys)
        # The catalogue may have registered it although its answer was lost.
        if row is None or not isinstance(error, CatalogUnavailableError):
            raise
        return row


def _take_back(here: Parts, keys: VideoKeys) -> VideoRow | None:
    """Remove an uploaded object that has no row, or return the row if there is one after all.

    If the catalogue does not answer, the object is kept: upkeep lists objects without a row.
    """
    with suppress(CaptionAccError):
        try:
            return here.catalog.get_video(keys.video_id)
        except UnknownVideoError:
            here.object_store.delete(keys.video)
    return None


def _moment(facts: os.stat_result) -> tuple[int, int]:
    return facts.st_size, facts.st_mtime_ns


def _sha256(file: Path, progress: Callable[[int], None]) -> str:
    """Return a file's SHA-256 in lower-case hexadecimal; ``progress`` receives the bytes read so far."""
    digest, done = hashlib.sha256(), 0
    with file.open("rb") as opened:
        while block := opened.read(_BLOCK):
            digest.update(block)
            done += len(block)
            progress(done)
    return digest.hexdigest()
