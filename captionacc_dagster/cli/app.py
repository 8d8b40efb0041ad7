"""The command line's app, its console, and the parts that its commands open."""

import re
from dataclasses import dataclass
from enum import Enum, auto
from functools import cached_property
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console

from captionacc_dagster import __version__
from captionacc_dagster.platform.homes import make_home, require_home
from captionacc_dagster.resources.catalog import Catalog, UnknownVideoError, VideoRow
from captionacc_dagster.settings import Settings, get_settings
from modal_gpu.errors import InvalidIdError
from modal_gpu.storage import ObjectStore

# Without emoji codes: in a name or a caption, `:cat:` is text.
console = Console(emoji=False)
#: What is said of a command beside what it gives, which may be read by a program.
notes = Console(stderr=True, emoji=False)
app = typer.Typer(
    name="captionacc",
    help="Turns videos with burned-in captions into timed text.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        say(f"captionacc {__version__}")
        raise typer.Exit


@app.callback()
def _options_before_the_command(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Hold the options that come before a command."""


#: Of every command that serves. Not 0: the port that the system chooses then would be announced nowhere.
PortOption = Annotated[int | None, typer.Option(help="port to serve on", min=1, max=65535)]
#: What would break a line of a terminal: the characters of ``captionacc.clean_name``, and half surrogates.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
#: Videos of one name that are looked at.
_MOST_MATCHES = 100


def printable(text: object) -> str:
    """Text from outside, such as a file's name, on one line: U+FFFD for what a terminal would obey."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", str(text))


def say(sentence: str) -> None:
    """Print one line that may hold names: nothing in it is markup, and it is not broken in two."""
    console.print(printable(sentence), highlight=False, markup=False, soft_wrap=True)


def note(sentence: str) -> None:
    """As :func:`say`, on standard error: it is no part of the command's result."""
    notes.print(printable(sentence), highlight=False, markup=False, soft_wrap=True)


class Use(Enum):
    """What a command does with its home."""

    READ = auto()
    WRITE = auto()  #: changes what is there
    MAKE = auto()  #: makes one where there is none


@dataclass
class Parts:
    """The platform's parts, each opened when a command first needs it.

    Opening one raises :class:`NoHomeError` where there is no home and ``use`` makes none. A command that
    changes something says where, once.
    """

    settings: Settings
    use: Use = Use.READ
    is_home_named: bool = False

    def open_home(self, part: str = "") -> None:
        """Make the home, or make sure that it is there with its ``part``; name it for a writing command."""
        if self.use is Use.MAKE:
            make_home(self.settings.home)
        elif part:
            require_home(self.settings.home, part)
        if self.use is not Use.READ and not self.is_home_named:
            home = f"Home: {where(self.settings)}"
            notes.print(home, style="dim", highlight=False, markup=False, soft_wrap=True)
            self.is_home_named = True

    @cached_property
    def catalog(self) -> Catalog:
        from captionacc_dagster.resources.opening import open_catalog

        self.open_home("postgres" if self.settings.has_embedded_catalogue else "")
        with console.status("Opening the catalogue…"):
            return open_catalog(self.settings)

    @cached_property
    def object_store(self) -> ObjectStore:
        from captionacc_dagster.resources.opening import open_object_store

        self.open_home("bucket" if self.settings.has_embedded_bucket else "")
        return open_object_store(self.settings)

    def find_video(self, name: str, *, only_one: bool = False) -> VideoRow:
        """A video by its id, the start of its id, or its name; of several of one name the newest, and a note.

        Raises :class:`UnknownVideoError` for an id that is not there, and :class:`InvalidIdError`, which
        lists the videos, where the name does not say which: for the start of several ids, a name that
        several tenants use, and with ``only_one`` a name that several videos have.
        """
        video_id = _whole_id(name)
        if video_id is not None and (row := self._get_video(video_id)) is not None:
            return row
        rows = self.catalog.find_videos(name, _MOST_MATCHES)
        if len(rows) == 1:
            return rows[0]
        if not rows and video_id is not None:
            raise UnknownVideoError(f"video {video_id} is not in the catalogue")
        if not rows:
            raise InvalidIdError(
                f"no video {printable(name)!r}; `captionacc status` lists those that there are"
            )
        newest = rows[0]
        by_id = any(row.video_id.startswith(name.lower()) for row in rows)
        if only_one or by_id or any(row.tenant_id != newest.tenant_id for row in rows):
            raise InvalidIdError(_which_of(name, rows))
        note(f"{_count(rows)} videos are called {newest.display_path}; this is the newest, {_told(newest)}.")
        return newest

    def _get_video(self, video_id: str) -> VideoRow | None:
        try:
            return self.catalog.get_video(video_id)
        except UnknownVideoError:
            return None


def _whole_id(name: str) -> str | None:
    try:
        return str(UUID(name))
    except ValueError:
        return None


def _count(rows: list[VideoRow]) -> str:
    return f"{len(rows)} or more" if len(rows) == _MOST_MATCHES else str(len(rows))


def _told(row: VideoRow) -> str:
    return f"{row.video_id} of {row.created_at.astimezone():%Y-%m-%d %H:%M}"


def _which_of(name: str, rows: list[VideoRow]) -> str:
    listed = ", ".join(_told(row) for row in rows[:5]) + (", …" if len(rows) > 5 else "")
    return f"{_count(rows)} videos match {printable(name)!r}, newest first: {listed}; give the whole id"


def parts(use: Use = Use.READ) -> Parts:
    """The parts of this process's installation."""
    return Parts(get_settings(), use)


def where(settings: Settings) -> str:
    """The home, and what is elsewhere, by the settings that say so."""
    elsewhere = []
    if not settings.has_embedded_catalogue:
        setting = "SUPABASE_URL" if settings.supabase_url else "CAPTIONACC_DATABASE_URL"
        elsewhere.append(f"catalogue by {setting}")
    if not settings.has_embedded_bucket:
        elsewhere.append(f"bucket {settings.effective_storage_url}")
    return str(settings.home) + (f" ({', '.join(elsewhere)})" if elsewhere else "")
