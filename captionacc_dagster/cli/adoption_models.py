"""The shapes of ``adopt --json``. See :mod:`captionacc_dagster.cli.json_models`."""

from typing import Literal

from captionacc_dagster.cli.json_models import Id, Name, Output, field


class AdoptedPart(Output):
    """A part of a video, and the outcome for it."""

    name: str = field("such as `layout` or `chunks`")
    outcome: Literal["as_is", "converted", "run"] = field("`run`: a run makes it again")
    detail: str = field("why it is made again, or an empty string")


class AdoptedEdits(Output):
    """People's work, which is kept."""

    captions: int = field("confirmed or edited")
    labels: int = field("of boxes")
    approved: bool = field("whether the layout's crop region is approved")
    reviewed: list[str] = field("stages that people completed")


class AdoptedVideo(Output):
    """A video of the predecessor and what becomes, or became, of it."""

    video_id: Id
    name: Name
    tenant_id: str = field("its owner")
    verdict: Literal["as_is", "converted", "run", "refused"] = field("what is planned")
    reasons: list[str] = field("why it is made again or refused, and what else to know")
    parts: list[AdoptedPart] = field("what it has")
    edits: AdoptedEdits = field("what people did")
    functions: list[str] = field("that are called for it without a further decision")
    usd: float = field("expected cost of these calls on Modal")
    state: Literal["adopted", "unchanged", "kept", "refused"] | None = field("with `--apply`: what happened")
    detail: str = field("with `--apply`: why it was kept as it is here, or refused after all; else empty")


class Adoption(Output):
    """The result of `adopt`."""

    applied: bool = field("false: only shown")
    verdicts: dict[str, int] = field("number of videos by verdict")
    states: dict[str, int] = field("with `--apply`: number of videos by state")
    usd: float = field("expected cost of all calls on Modal")
    edits: int = field("captions, labels, approvals and reviews of people in videos that are not refused")
    profiles: int = field("users of its tenants; with `--apply`: those that got a profile now")
    notes: list[str] = field("about the predecessor's tables and users")
    videos: list[AdoptedVideo] = field("in the order of their uploads")


class AdoptionExport(Output):
    """The result of `adopt --export`."""

    folder: str = field("where the files are")
    files: list[str] = field("keys in the predecessor's bucket")
    notes: list[str] = field("what was left out")
