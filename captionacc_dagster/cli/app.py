"""The command line's app, its console, and the parts that its commands open."""

from dataclasses import dataclass
from functools import cached_property
from uuid import UUID

import typer
from rich.console import Console

from captionacc_dagster.resources.catalog import Catalog, VideoRow
from captionacc_dagster.settings import Settings, get_settings
from modal_gpu.errors import InvalidIdError
from modal_gpu.storage import ObjectStore

console = Console()
app = typer.Typer(
    name="captionacc",
    help="Turns videos with burned-in captions into timed text.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@dataclass
class Parts:
    """The platform's parts, each opened when a command first needs it."""

    settings: Settings

    @cached_property
    def catalog(self) -> Catalog:
        from captionacc_dagster.platform import open_catalog

        with console.status("Opening the catalogue…"):
            return open_catalog(self.settings)

    @cached_property
    def object_store(self) -> ObjectStore:
        from captionacc_dagster.platform import open_object_store

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


def parts() -> Parts:
    """The parts of this process's installation."""
    return Parts(get_settings())
