"""``cost``: spending by month, estimates for a video, and limits."""

import math
import re
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from captionacc_dagster.cli import json_operation_models as models
from captionacc_dagster.cli.app import Parts, Use, parts
from captionacc_dagster.cli.clocks import length
from captionacc_dagster.cli.json_output import AsJson, print_json
from captionacc_dagster.cli.numbers import FiniteRange
from captionacc_dagster.cli.root import app, console, say
from captionacc_dagster.cli.states import caption_count
from captionacc_dagster.cli.usage import usage_error
from captionacc_dagster.costs.comparison import compare
from captionacc_dagster.costs.estimates import ASSUMED_SIZE, Estimate, VideoWork, estimates
from captionacc_dagster.costs.ledger import charge_abandoned, cost_policy
from captionacc_dagster.operations.tenant_names import find_tenant
from captionacc_dagster.resources.catalog import CostLine, InvalidArgumentError
from captionacc_dagster.resources.compute import FanOut
from captionacc_dagster.settings import Settings

cost_app = typer.Typer(help="Show and limit the cost of remote compute.", invoke_without_command=True)
app.add_typer(cost_app, name="cost")

#: Largest amount of a limit: more is taken for a typing error, and `off` means no limit.
MAX_DOLLARS = 1e9
#: Largest accepted side of a frame, in pixels.
MAX_SIDE = 16_384

TenantName = Annotated[
    str | None, typer.Option("--tenant", metavar="TENANT", help="only this one: name, id, or start of an id")
]
Minutes = Annotated[
    float | None,
    typer.Option(click_type=FiniteRange(0.01, 100_000), help="length of a video that is not here"),
]
Resolution = Annotated[
    str | None,
    typer.Option(
        metavar="WIDTHxHEIGHT", help=f"default: the video's, or {ASSUMED_SIZE[0]}x{ASSUMED_SIZE[1]}"
    ),
]
Named = Annotated[
    str | None, typer.Argument(metavar="[VIDEO]", help="a file, or a video of the platform by name or id")
]


@cost_app.callback()
def cost(
    context: typer.Context,
    tenant: TenantName = None,
    months: Annotated[int, typer.Option(min=1, max=120, help="number of months, including this one")] = 3,
    as_json: AsJson = False,
) -> None:
    """Show the cost of remote compute by tenant, function and month (UTC)."""
    if context.invoked_subcommand is not None:
        return
    here = parts()
    # Calls that ended after their run had died are not charged yet.
    charge_abandoned(here.catalog, cost_policy(here.settings))
    tenant_id = None if tenant is None else find_tenant(here.catalog, tenant).tenant_id
    lines = here.catalog.cost_report(_month_start(datetime.now(UTC), months - 1), tenant_id=tenant_id)
    if as_json:
        print_json([models.CostLine(**asdict(line)) for line in lines])
        return
    if not lines:
        console.print("Nothing was processed in this period.")
        return
    _print_report(lines)


@cost_app.command(name="estimate")
def estimate_cost(
    video: Named = None,
    minutes: Minutes = None,
    resolution: Resolution = None,
    containers: Annotated[
        int, typer.Option(min=1, max=1000, help="maximum number of containers per function")
    ] = 10,
    captions: Annotated[
        int | None,
        typer.Option(min=0, max=10_000_000, help="number of captions; default: as in a video full of speech"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Estimate the cost of a video on Modal, as these settings deploy it. Calls no remote function."""
    here = parts()
    settings = here.settings
    policy = cost_policy(settings)
    name, work = _work(here, video, minutes, resolution, captions)
    found = estimates(
        work, policy.app, policy.prices, _fan_out(settings, policy.app.extents_predictor, containers)
    )
    if as_json:
        print_json(_as_estimate(name, work, found))
        return
    _print_estimates(name, work, found)


@cost_app.command(name="compare")
def compare_configurations(
    video: Named = None,
    minutes: Minutes = None,
    resolution: Resolution = None,
    as_json: AsJson = False,
) -> None:
    """Compare the time and price of a video on Modal by GPU and containers. Calls no remote function."""
    here = parts()
    settings = here.settings
    policy = cost_policy(settings)
    name, work = _work(here, video, minutes, resolution, None)
    fan_out = _fan_out(settings, policy.app.extents_predictor, 1)
    found = compare(work, policy.app, policy.prices, fan_out)
    if as_json:
        print_json([models.Configuration(**asdict(one)) for one in found])
        return
    _print_work(name, work)
    table = Table(box=None, pad_edge=False)
    table.add_column("GPU")
    for heading in ("containers", "wall s", "cost", "per hour of video"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in found:
        cells = (
            str(one.containers),
            f"{one.wall_seconds:.0f}",
            _dollars(one.usd),
            _dollars(one.usd_per_hour),
        )
        table.add_row(one.gpu, *cells)
    console.print(table, highlight=False, markup=False)


@cost_app.command()
def limit(
    tenant: TenantName = None,
    tier: Annotated[str | None, typer.Option(help="all tenants of a tier, such as free")] = None,
    video_usd: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="limit for a video: a number, off or default")
    ] = None,
    month_usd: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="limit for a month: a number, off or default")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show cost limits, or set them, in US dollars.

    `off` removes the limit. `default` uses the tier's limit for a tenant, and the installation's for a tier.
    """
    changes = video_usd is not None or month_usd is not None
    here = parts(Use.WRITE if changes else Use.READ)
    if tenant is not None and tier is not None:
        raise usage_error("give --tenant or --tier, not both")
    if tier is not None:
        _limit_tier(here, tier, video_usd, month_usd, as_json)
        return
    row = (
        here.catalog.get_tenant(str(here.settings.tenant_id))
        if tenant is None
        else find_tenant(here.catalog, tenant)
    )
    if video_usd is not None or month_usd is not None:
        row = here.catalog.set_tenant_cost_limits(
            row.tenant_id,
            video_usd=_chosen(video_usd, row.video_cost_limit_usd),
            month_usd=_chosen(month_usd, row.month_cost_limit_usd),
        )
    costs = here.catalog.tenant_costs(
        row.tenant_id,
        video_limit_usd=here.settings.video_cost_limit,
        month_limit_usd=here.settings.month_cost_limit,
    )
    if as_json:
        owner = {"tenant_id": row.tenant_id, "tenant": row.name, "tier": row.tier}
        print_json(models.TenantLimits(**owner, **asdict(costs)))
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("tenant", f"{row.name} ({row.tenant_id}), tier {row.tier}")
    table.add_row("limit per video", _limit_words(costs.video_limit_usd))
    table.add_row("limit per month", _limit_words(costs.month_limit_usd))
    table.add_row("spent this month", _dollars(costs.month_spent_usd))
    table.add_row("reserved for running work", _dollars(costs.reserved_usd))
    if row.quota_exempt:
        table.add_row("", "The tenant is exempt from quotas: no limit applies.")
    console.print(table, highlight=False, markup=False)


def _work(
    here: Parts, video: str | None, minutes: float | None, resolution: str | None, captions: int | None
) -> tuple[str | None, VideoWork]:
    """Return the name and the work of a video that is a file, is in the catalogue, or has so many minutes.

    Raises a usage error unless exactly one is given, and what reading the video raises.
    """
    if (video is None) == (minutes is None):
        raise usage_error("name a video, or give `--minutes` for one that is not here")
    size = None if resolution is None else _resolution(resolution)
    if video is None:
        return None, VideoWork((minutes or 0.0) * 60, *(size or ASSUMED_SIZE), captions)
    if Path(video).is_file():
        from modal_gpu.media.probe import probe

        facts = probe(Path(video))
        width, height = size or (facts.width, facts.height)
        return Path(video).name, VideoWork(float(facts.duration), width, height, captions)
    row = here.find_video(video)
    zones = 1 + len(row.caption_zones)
    known = VideoWork.of_upload(
        row.size_bytes, row.duration_seconds, *(size or (row.width, row.height)), zones=zones
    )
    return row.display_path, replace(known, captions=caption_count(row) if captions is None else captions)


def _limit_tier(here: Parts, tier: str, video_usd: str | None, month_usd: str | None, as_json: bool) -> None:
    catalog = here.catalog
    rows = {row.tier: row for row in catalog.list_access_tiers()}
    if tier not in rows:
        raise InvalidArgumentError(f"tier {tier!r} does not exist; the tiers are {', '.join(rows)}")
    row = rows[tier]
    if video_usd is not None or month_usd is not None:
        row = catalog.set_tier_cost_limits(
            tier,
            video_usd=_chosen(video_usd, row.video_cost_limit_usd),
            month_usd=_chosen(month_usd, row.month_cost_limit_usd),
        )
    amounts = {"video_limit_usd": row.video_cost_limit_usd, "month_limit_usd": row.month_cost_limit_usd}
    if as_json:
        finite = {name: _finite(amount) for name, amount in amounts.items()}
        print_json(models.TierLimits(tier=tier, **finite))
        return
    video, month = (
        "the installation's limit" if amount is None else _limit_words(_finite(amount))
        for amount in amounts.values()
    )
    console.print(f"tier {tier}: per video {video}, per tenant and month {month}", highlight=False)


def _chosen(given: str | None, now: float | None) -> float | None:
    """Return the amount that an option gives, or ``now``, the current one, if it is not given."""
    if given is None:
        return now
    word = given.strip().lower()
    if word in ("off", "default"):
        return math.inf if word == "off" else None
    try:
        amount = float(word.removeprefix("$"))
    except ValueError:
        amount = -1.0
    if not 0 <= amount <= MAX_DOLLARS:
        raise usage_error(
            f"{given[:40]!r} is not an amount in US dollars: give one such as 12.50, off or default"
        )
    return amount


def _fan_out(settings: Settings, predictor: str, containers: int) -> FanOut:
    usual = FanOut(segment_frames=settings.segment_frames, max_parallel=containers)
    return replace(usual, divide_crops=predictor == "network")


def _resolution(text: str) -> tuple[int, int]:
    sides = re.fullmatch(r"([0-9]{1,5})[x×]([0-9]{1,5})", text.lower())
    width, height = (int(side) for side in sides.groups()) if sides else (0, 0)
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        shown = text if len(text) <= 40 else f"{text[:40]}…"
        raise usage_error(
            f"{shown!r} is not a resolution: give one such as 1920x1080, at most {MAX_SIDE} pixels a side"
        )
    return width, height


def _month_start(moment: datetime, back: int) -> datetime:
    """Return the start of the month ``back`` months before the month of ``moment``."""
    months = moment.year * 12 + moment.month - 1 - back
    return datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)


def _print_report(lines: list[CostLine]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("month", "tenant", "function"):
        table.add_column(heading, overflow="fold")
    for heading in ("calls", "container s", "minutes", "cost"):
        table.add_column(heading, justify="right", no_wrap=True)
    for line in lines:
        table.add_row(
            line.month,
            line.tenant,
            line.function,
            str(line.calls),
            f"{line.container_seconds:.0f}",
            f"{line.processing_minutes:.1f}",
            _dollars(line.cost_usd),
        )
    table.add_section()
    calls, seconds = sum(line.calls for line in lines), sum(line.container_seconds for line in lines)
    minutes = sum(line.processing_minutes for line in lines)
    total = _dollars(sum(line.cost_usd for line in lines))
    table.add_row("total", "", "", str(calls), f"{seconds:.0f}", f"{minutes:.1f}", total)
    console.print(table, highlight=False, markup=False)


def _print_work(name: str | None, work: VideoWork) -> None:
    """Print what is estimated: minutes as they were given, or the length of a video that was named."""
    long = f"{name}: {length(work.seconds)}" if name else f"{work.seconds / 60:g} minutes"
    say(f"{long} at {work.width} × {work.height}, {work.caption_count} captions")


def _as_estimate(name: str | None, work: VideoWork, found: list[Estimate]) -> models.CostEstimate:
    return models.CostEstimate(
        functions=[models.FunctionEstimate(**asdict(one)) for one in found],
        usd=round(sum(one.usd for one in found), 6),
        video=models.Work(
            name=name,
            seconds=work.seconds,
            width=work.width,
            height=work.height,
            captions=work.caption_count,
        ),
    )


def _print_estimates(name: str | None, work: VideoWork, found: list[Estimate]) -> None:
    _print_work(name, work)
    table = Table(box=None, pad_edge=False)
    table.add_column("function", overflow="fold")
    table.add_column("GPU")
    for heading in ("calls", "parallel", "container s", "wall s", "images", "cost"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in found:
        table.add_row(
            one.function,
            one.gpu,
            str(one.calls),
            str(one.containers),
            f"{one.seconds:.0f}",
            f"{one.wall_seconds:.0f}",
            str(one.vision_images),
            _dollars(one.usd),
        )
    table.add_section()
    total = sum(one.usd for one in found)
    seconds, wall = sum(one.seconds for one in found), sum(one.wall_seconds for one in found)
    images = sum(one.vision_images for one in found)
    table.add_row("total", "", "", "", f"{seconds:.0f}", f"{wall:.0f}", str(images), _dollars(total))
    console.print(table, highlight=False)


def _limit_words(amount: float | None) -> str:
    return "no limit" if amount is None else _dollars(amount)


def _finite(amount: float | None) -> float | None:
    return None if amount is None or math.isinf(amount) else amount


def _dollars(amount: float) -> str:
    return f"${amount:.4f}" if amount < 1 else f"${amount:,.2f}"
