"""Shell completion: the words of the command line that a shell asks about, and the names of videos.

Typer answers the shells (``captionacc --install-completion``). Only the module of the command that is being
typed is loaded, because a person waits for the answer.
"""

import os
import re
from contextlib import suppress

from click.parser import split_arg_string

#: Set by the scripts that complete commands in bash, zsh, fish and PowerShell.
COMPLETE_VARIABLE = "_CAPTIONACC_COMPLETE"
#: Videos that are offered, newest first.
_MOST = 50
#: Longest wait for the catalogue to connect, and to answer.
_SECONDS = 2.0
#: Names that every shell takes as they are; other videos are offered by their short id.
_PLAIN = re.compile(r"[\w.,+@%-]+")


def words_so_far() -> list[str]:
    """Return the complete words after ``captionacc`` on the line, without the one that is being typed."""
    if "COMP_WORDS" in os.environ:  # bash
        words = split_arg_string(os.environ["COMP_WORDS"])
        return words[1 : int(os.environ.get("COMP_CWORD", len(words)))]
    line = os.environ.get("_TYPER_COMPLETE_ARGS", "")
    words = split_arg_string(line)[1:]
    return words if line.endswith(" ") else words[:-1]


def complete_at_the_first_tab() -> None:
    """Make Typer's script for zsh complete when zsh loads it, at the first press of the key.

    Typer's own only registers itself then, and completes from the second press on. The lines are those of
    click's script.
    """
    from typer import _completion_shared as shared

    shared._completion_scripts["zsh"] = (
        f"{shared.COMPLETION_SCRIPT_ZSH.rstrip()}\n\n"
        'if [[ $zsh_eval_context[-1] == loadautofunc ]]; then\n  %(complete_func)s "$@"\nfi\n'
    )


def video_names(incomplete: str) -> list[str]:
    """Return the names of videos, and short ids of those with other characters, that begin like this.

    Nothing is started or made for it: without a running catalogue, and after any error, there are none.
    """
    with suppress(Exception):
        from captionacc_dagster.resources.catalog import Catalog
        from captionacc_dagster.resources.catalog.embedded_postgres import EmbeddedPostgres
        from captionacc_dagster.resources.catalog.postgres import PostgresTransport
        from captionacc_dagster.settings import get_settings

        settings = get_settings()
        if settings.database_url:
            dsn = settings.database_url.get_secret_value()
        else:
            server = EmbeddedPostgres(settings.home)
            if not settings.has_embedded_catalogue or not server.status().running:
                return []
            dsn = server.dsn()
        transport = PostgresTransport(
            dsn,
            schema=settings.catalogue_schema,
            statement_timeout_seconds=_SECONDS,
            connect_timeout_seconds=_SECONDS,
        )
        rows = Catalog(transport).list_videos(limit=_MOST)
        names = [row.display_path if _PLAIN.fullmatch(row.display_path) else row.short_id for row in rows]
        return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]
    return []
