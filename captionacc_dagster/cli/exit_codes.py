"""The exit codes of all commands; docs/reference/commands.md describes them."""

from enum import IntEnum


class ExitCode(IntEnum):
    """The result of a command, as scripts see it."""

    DONE = 0
    FAILED = 1
    WRONG_COMMAND_LINE = 2
    NEEDS_CROP_REGION = 3
    DIFFERS = 4
    #: 128 and the number of SIGINT, as shells have it; SIGTERM and SIGHUP end a command in the same way.
    STOPPED = 130
