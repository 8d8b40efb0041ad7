"""Entry point of ``captionacc`` and of ``python -m captionacc_dagster``."""

import sys

from captionacc_dagster import __version__


def main() -> None:
    """Run the command line. ``--version`` alone answers before the commands are imported."""
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"captionacc {__version__}\n")
        return
    from captionacc_dagster.cli import main as run_command

    run_command()


if __name__ == "__main__":
    main()
