"""The command ``captionacc extract`` in this process."""

from pathlib import Path

from captionacc_dagster.cli.commands import load


def extracted(video: Path, folder: Path) -> bytes:
    """Return the SubRip file that the command writes into ``folder``."""
    load("extract")(["extract", str(video), "-o", str(folder)], standalone_mode=False)
    return (folder / f"{video.stem}.srt").read_bytes()
