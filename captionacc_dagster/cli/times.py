"""Times that people type: ``83.5``, ``1:23.5`` or ``0:01:23,500``."""

import re
from typing import Any

import click

_TIME = re.compile(r"(?:(?:(\d+):)?(\d{1,2}):)?(\d+)(?:[.,](\d{1,3}))?")


class PlayerTime(click.ParamType):
    """A time in a video, in milliseconds from its start as players count."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = _TIME.fullmatch(str(value).strip())
        if match is None:
            self.fail(f"{value!r} is not a time: write it as 83.5, 1:23.5 or 0:01:23.500.", param, ctx)
        hours, minutes, seconds, fraction = match.groups()
        whole = int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds)
        return whole * 1000 + int((fraction or "0").ljust(3, "0"))
