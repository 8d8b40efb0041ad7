"""The shapes of ``compare --json``. See :mod:`captionacc_dagster.cli.json_models`."""

from captionacc_dagster.cli.json_models import Id, Name, Output, field


class ComparedCaption(Output):
    """A caption of one side."""

    id: int | None = field("its id, or its place in a file")
    start_seconds: float = field("as players count")
    end_seconds: float = field("as players count")
    text: str | None = field("`null` if it was not read")


class Difference(Output):
    """Captions that belong together by time and are not the same on both sides."""

    video_id: Id
    kind: str = field("such as `times differ`, `text differs`, `divided`, `only old`")
    lost_edits: int = field("captions of people whose text, times or marks the new side does not have")
    old: list[ComparedCaption] = field("empty if only the new side has it")
    new: list[ComparedCaption] = field("empty if only the old side has it")


class ComparedVideo(Output):
    """A video in a comparison."""

    video_id: Id
    name: Name
    met: bool = field("whether the video by itself is within all limits")
    old_captions: int = field("number of captions compared")
    new_captions: int = field("number of captions compared")
    kinds: dict[str, int] = field("number of groups of captions of each kind, `same` included")
    notes: list[str] = field("what could not be compared, and why")


class ComparisonCheck(Output):
    """A limit, and what was found."""

    limit: str = field("its name, as `--limit` takes it")
    what: str = field("what is counted")
    count: int = field("what was found")
    of: int | None = field("what it is a share of; `null` if the count itself is limited")
    at_most: float = field("the largest count, or the largest share from 0 to 1")
    met: bool = field("whether it is within the limit")


class Comparison(Output):
    """The result of `compare`."""

    met: bool = field("whether all limits are met; the exit code is 0 then, and otherwise 4")
    tolerance_seconds: float = field("times that differ by at most this count as the same")
    checks: list[ComparisonCheck] = field("each limit")
    videos: list[ComparedVideo] = field("each video")
    differences: list[Difference] = field("what is not the same, by video and time")
