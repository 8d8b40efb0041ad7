"""The parts of the platform that commands open, and an option that several of them share."""

from dataclasses import dataclass
from enum import Enum, auto
from functools import cached_property
from typing import Annotated

import typer

from captionacc_dagster.cli.root import note, notes, printable, waiting
from captionacc_dagster.operations.video_names import find_video
from captionacc_dagster.platform.homes import make_home, require_home
from captionacc_dagster.resources.catalog import Catalog, VideoRow
from captionacc_dagster.settings import Settings, get_settings
from modal_gpu.storage import ObjectStore

#: For every command that serves. 0 is refused: nothing would announce the port that the system chose.
PortOption = Annotated[
    int | None, typer.Option(help="port to listen on; default: from the settings", min=1, max=65535)
]


class Use(Enum):
    """The ways in which a command uses its home."""

    READ = auto()
    WRITE = auto()  #: changes an existing home
    MAKE = auto()  #: creates the home if there is none


@dataclass
class Parts:
    """The platform's parts, each opened when a command first needs it.

    Opening a part raises :class:`NoHomeError` if there is no home and ``use`` is not ``MAKE``. A command that
    changes something prints its home, once.
    """

    settings: Settings
    use: Use = Use.READ
    is_home_named: bool = False

    def open_home(self, part: str = "") -> None:
        """Create the home, or require it and its ``part``; print it for a command that writes."""
        if self.use is Use.MAKE:
            make_home(self.settings.home)
        elif part:
            require_home(self.settings.home, part)
        if self.use is not Use.READ and not self.is_home_named:
            home = f"Home: {describe_home(self.settings)}"
            notes.print(home, style="dim", highlight=False, markup=False, soft_wrap=True)
            self.is_home_named = True

    @cached_property
    def catalog(self) -> Catalog:
        from captionacc_dagster.resources.opening import open_catalog

        self.open_home("postgres" if self.settings.has_embedded_catalogue else "")
        # A new home's catalogue takes seconds to make.
        server = self.settings.home / "postgres" / "data"
        is_new = self.settings.has_embedded_catalogue and not server.exists()
        with waiting("Making the catalogue" if is_new else "Opening the catalogue", in_a_line=is_new):
            return open_catalog(self.settings)

    @cached_property
    def object_store(self) -> ObjectStore:
        from captionacc_dagster.resources.opening import open_object_store

        self.open_home("bucket" if self.settings.has_embedded_bucket else "")
        return open_object_store(self.settings)

    def find_video(self, name: str, *, only_one: bool = False) -> VideoRow:
        """Return a video by its id, the start of its id, its partition key, or its name.

        Of several videos with the same name it returns the newest, and prints a note. Raises what
        :func:`captionacc_dagster.operations.video_names.find_video` raises.
        """
        return find_video(self.catalog, printable(name), only_one=only_one, note=note)


def parts(use: Use = Use.READ) -> Parts:
    """Return the parts of the installation that this process's settings describe."""
    return Parts(get_settings(), use)


def describe_home(settings: Settings) -> str:
    """Return the home's path, with the catalogue or bucket that the settings place elsewhere."""
    elsewhere = []
    if not settings.has_embedded_catalogue:
        setting = "SUPABASE_URL" if settings.supabase_url else "CAPTIONACC_DATABASE_URL"
        elsewhere.append(f"catalogue from {setting}")
    if not settings.has_embedded_bucket:
        elsewhere.append(f"bucket {settings.effective_storage_url}")
    return str(settings.home) + (f" ({', '.join(elsewhere)})" if elsewhere else "")
