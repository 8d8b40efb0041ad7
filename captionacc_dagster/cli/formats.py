"""The option for the formats of subtitles, for commands that write several at once."""

from typing import Annotated

import typer

from captionacc_dagster.cli.usage import usage_error
from modal_gpu.captions.subtitles import SubtitleFormat

FormatOption = Annotated[
    str, typer.Option("--format", "-f", help=f"separated by commas: {', '.join(SubtitleFormat)}")
]


def formats_of(names: str) -> list[SubtitleFormat]:
    """Return the formats, each once. Raises a usage error for an unknown one."""
    known = {format.value: format for format in SubtitleFormat}
    wanted = [name.strip().lower().lstrip(".") for name in names.split(",") if name.strip()]
    if wrong := [name for name in wanted if name not in known] or ([] if wanted else ["none"]):
        raise usage_error(f"--format {', '.join(wrong)}: the formats are {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(wanted)]
