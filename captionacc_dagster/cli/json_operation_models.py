"""The shapes of ``--json``: models, the installation, upkeep, backfills and costs, in US dollars.

See :mod:`captionacc_dagster.cli.json_models`.
"""

from datetime import datetime

from captionacc_dagster.cli.json_models import Id, Name, Output, field


class Model(Output):
    """A model of the extents network."""

    name: str = field("its file")
    version: str = field("as results name it")
    shipped: bool = field("whether it came with the installation")
    in_use: bool = field("whether these settings choose it")
    size_bytes: int = field("of the file")
    stored_at: datetime | None = field("`null` for the shipped one")


class Models(Output):
    """The models that can be chosen."""

    place: str = field("where models are stored")
    in_use: str = field("version that new results name; `strokes-…`: no network")
    models: list[Model] = field("the shipped one first")


class VerifiedModel(Output):
    """A model file, compared with the hash in its name."""

    name: str = field("the file")
    sha256: str = field("of its content; empty if it cannot be read")
    problem: str = field("empty if it is intact")


class VerifiedModels(Output):
    """The result of `model verify`."""

    place: str = field("where the models are stored")
    models: list[VerifiedModel] = field("without the shipped one")


class Language(Output):
    """A language and what reads it."""

    language: str = field("its BCP-47 tag")
    script: str = field("ISO 15924")
    model: str | None = field("RapidOCR's model; `in the wheel`: installed with it; `null`: there is none")
    installed: bool = field("whether that model is here")
    letters_known: int | None = field("letters of the language that it knows; `null`: not known")
    letters: int | None = field("letters of the language")
    tesseract_pack: str = field("Tesseract's language pack")
    tesseract_installed: bool = field("whether that is here")


class Languages(Output):
    """The result of `ocr list`."""

    engine: str = field("OCR_ENGINE")
    chosen: list[str] = field("OCR_LANGUAGE")
    languages: list[Language] = field("those given, or well-known ones")


class InferredVideo(Output):
    """A video of `infer`."""

    video_id: Id
    name: Name
    status: str = field("`completed`, `skipped`, `rejected` or `failed`")
    run_id: str | None = field("the run that made the labels in use; `null`: there is none")
    storage_key: str | None = field("where they are; `null`: there are none")
    successful: int = field("pairs of frames with a label")
    total_pairs: int = field("pairs of neighbouring frames")
    message: str = field("why it was skipped or rejected, or how it failed")


class Inferred(Output):
    """The result of `infer`."""

    model_version: str = field("the extents model")
    videos: list[InferredVideo] = field("in the order of the command line")


class Finding(Output):
    """A line of the doctor's report."""

    what: str = field("what was checked")
    ok: bool = field("whether it is usable")
    detail: str = field("what was found")
    advice: str = field("what to do, or an empty string")


class Findings(Output):
    """The result of `doctor`."""

    ok: bool = field("whether all are")
    findings: list[Finding] = field("in the order of the checks")


class Leftover(Output):
    """Something that is no longer needed."""

    kind: str = field("such as `expired lease`")
    subject: str = field("what it is")
    detail: str = field("why it is not needed")
    done: bool = field("whether it was removed")
    error: str = field("why not, or an empty string")


class Upkeep(Output):
    """The result of `upkeep`."""

    applied: bool = field("false: only shown")
    findings: list[Leftover] = field("in the order of the work")


class BackfillVideo(Output):
    """A video that a backfill chooses."""

    video_id: Id
    name: Name
    tenant_id: str = field("its owner")
    model_version: str | None = field("that made its captions")


class BackfillChoice(Output):
    """The videos that a backfill chooses."""

    backfill_id: str | None = field("`null`: only shown")
    model_version: str = field("that will make the captions")
    chosen: int = field("number of videos")
    former_models: dict[str, int] = field("chosen videos by their model; an empty name: unknown")
    skipped: dict[str, int] = field("other videos that met the conditions, by reason")
    sample: list[BackfillVideo] = field("at most ten of the chosen")


class BackfillFailure(Output):
    """A video of a backfill that failed."""

    video_id: Id
    detail: str = field("why")


class Backfill(Output):
    """A backfill and the number of its videos in each state."""

    backfill_id: str = field("its id")
    model_version: str = field("that makes the captions")
    conditions: dict[str, list[str]] = field("that chose the videos")
    requested_by: str = field("who")
    requested_at: datetime = field("when")
    cancelled_at: datetime | None = field("when it was cancelled")
    waiting: int = field("not started")
    handed_out: int = field("in work")
    done: int = field("on the model")
    skipped: int = field("left as they are")
    failed: int = field("failed")
    cancelled: int = field("cancelled before they began")
    failures: list[BackfillFailure] = field("at most ten")


class Backfills(Output):
    """The result of `backfill --list`."""

    backfills: list[Backfill] = field("newest first")


class Cancelled(Output):
    """The result of `backfill --cancel`."""

    backfill_id: str = field("its id")
    cancelled: int = field("videos that had not started")


class CostLine(Output):
    """The cost of one function for one tenant in one month."""

    tenant_id: str = field("the tenant")
    tenant: str = field("its name")
    month: str = field("such as `2026-11`, UTC")
    function: str = field("the compute function, or `local`")
    calls: int = field("remote calls")
    container_seconds: float = field("of remote calls")
    processing_minutes: float = field("of all processing")
    cost_usd: float = field("estimated from what was measured")


class FunctionEstimate(Output):
    """The expected cost of one function for a video."""

    function: str = field("the compute function")
    gpu: str = field("`none`: cores only")
    calls: int = field("remote calls")
    containers: int = field("at the same time")
    seconds: float = field("of all containers together")
    wall_seconds: float = field("from the first call to the last result")
    vision_images: int = field("images that Google Vision bills")
    usd: float = field("cost")


class Work(Output):
    """The video that was estimated."""

    name: str | None = field("the video that was named; `null`: `--minutes`")
    seconds: float = field("its length")
    width: int = field("in pixels")
    height: int = field("in pixels")
    captions: int = field("to be read: known, given, or as in a video full of speech")


class CostEstimate(Output):
    """The result of `cost estimate`."""

    functions: list[FunctionEstimate] = field("in the order of the work")
    usd: float = field("their sum")
    video: Work = field("what was estimated")


class Configuration(Output):
    """Time and price of a video by GPU and number of containers."""

    gpu: str = field("`none`: cores only")
    containers: int = field("of each function, at most")
    wall_seconds: float = field("from the first call to the last result")
    usd: float = field("cost of the video")
    usd_per_hour: float = field("cost of an hour of video")


class TierLimits(Output):
    """The cost limits of a tier's tenants; `null` is no limit, or the installation's."""

    tier: str = field("the tier")
    video_limit_usd: float | None = field("for a video over its lifetime")
    month_limit_usd: float | None = field("for a tenant's calendar month, UTC")


class TenantLimits(TierLimits):
    """The cost limits of a tenant; `null` is no limit."""

    tenant_id: str = field("the tenant")
    tenant: str = field("its name")
    month_spent_usd: float = field("this month so far")
    reserved_usd: float = field("for work in progress")
