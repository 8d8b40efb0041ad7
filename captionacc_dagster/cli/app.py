"""The command line's app, its console, and the parts that its commands open."""

from dataclasses import dataclass
from enum import Enum, auto
from functools import cached_property
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console

from captionacc_dagster.homes import make_home, require_home
from captionacc_dagster.resources.catalog import Catalog, VideoRow
from captionacc_dagster.settings import Settings, get_settings
from modal_gpu.errors import InvalidIdError
from modal_gpu.storage import ObjectStore

console = Console()
#: What is said of a command beside what it gives, which may be read by a program.
notes = Console(stderr=True)
app = typer.Typer(
    name="captionacc",
    help="Turns videos with burned-in captions into timed text.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


#: Of every command that serves. Not 0: the port that the system chooses then would be announced nowhere.
PortOption = Annotated[int | None, typer.Option(help="port to serve on", min=1, max=65535)]


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
        from captionacc_dagster.platform import open_catalog

        self.open_home("postgres" if self.settings.has_embedded_catalogue else "")
        with console.status("Opening the catalogue…"):
            return open_catalog(self.settings)

    @cached_property
    def object_store(self) -> ObjectStore:
        from captionacc_dagster.platform import open_object_store

        self.open_home("bucket" if self.settings.has_embedded_bucket else "")
        return open_object_store(self.settings)

    def find_video(self, name: str) -> VideoRow:
        """A video by its id, the start of its id, or its file name; an error that helps otherwise."""
        try:
            return self.catalog.get_video(str(UUID(name)))
        except ValueError:
            pass
        rows = self.catalog.list_videos(limit=10_000)
        matches = [row for row in rows if row.video_id.startswith(name.lower()) or row.display_path == name]
        if len(matches) == 1:
            return matches[0]
        if not matches:
            raise InvalidIdError(f"no video {name!r}; `captionacc status` lists those that there are")
        found = ", ".join(row.video_id for row in matches[:5])
        raise InvalidIdError(f"{len(matches)} videos match {name!r} ({found}, …); give the whole id")


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
