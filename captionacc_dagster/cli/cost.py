"""``cost``: what was spent, what a video would cost, and the limits."""

import json
import math
import re
import sys
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from captionacc_dagster.cli.app import Parts, Use, app, console, parts
from captionacc_dagster.cli.numbers import FiniteRange
from captionacc_dagster.costs.estimates import ASSUMED_SIZE, Estimate, VideoWork, estimates
from captionacc_dagster.costs.ledger import charge_abandoned, cost_policy
from captionacc_dagster.resources.catalog import CostLine, InvalidArgumentError
from captionacc_dagster.resources.compute import FanOut
from captionacc_dagster.settings import Settings

cost_app = typer.Typer(
    help="Say what remote compute costs, by tenant, function and month (UTC).", invoke_without_command=True
)
app.add_typer(cost_app, name="cost")

#: Largest amount of a limit; more is a slip of the finger, and `off` is no limit.
MAX_DOLLARS = 1e9
#: Largest side of a video's frames.
MAX_SIDE = 16_384

TenantId = Annotated[str | None, typer.Option("--tenant", metavar="UUID", help="One tenant only.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@cost_app.callback()
def cost(
    context: typer.Context,
    tenant: TenantId = None,
    months: Annotated[int, typer.Option(min=1, max=120, help="Months, this one included.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Show what was spent. Calls that ended after their run had died are charged first."""
    if context.invoked_subcommand is not None:
        return
    here = parts()
    charge_abandoned(here.catalog, cost_policy(here.settings))
    lines = here.catalog.cost_report(_month_start(datetime.now(UTC), months - 1), tenant_id=tenant)
    if as_json:
        _print_json([asdict(line) for line in lines])
        return
    if not lines:
        console.print("Nothing was processed in this time.")
        return
    _print_report(lines)


@cost_app.command(name="estimate")
def estimate_cost(
    minutes: Annotated[
        float, typer.Option(click_type=FiniteRange(0.01, 100_000), help="Length of the video.")
    ],
    resolution: Annotated[str, typer.Option(metavar="WIDTHxHEIGHT")] = f"{ASSUMED_SIZE[0]}x{ASSUMED_SIZE[1]}",
    containers: Annotated[
        int, typer.Option(min=1, max=1000, help="Containers at once for one function.")
    ] = 10,
    captions: Annotated[
        int | None,
        typer.Option(min=0, max=10_000_000, help="Captions in it; by default those of a talking video."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Calculate what a video would cost on Modal, as it is deployed by these settings. Asks nobody."""
    settings = parts().settings
    policy = cost_policy(settings)
    width, height = _resolution(resolution)
    work = VideoWork(minutes * 60, width, height, captions)
    found = estimates(
        work, policy.app, policy.prices, _fan_out(settings, policy.app.extents_predictor, containers)
    )
    if as_json:
        _print_json(
            {"functions": [asdict(one) for one in found], "usd": round(sum(one.usd for one in found), 6)}
        )
        return
    _print_estimates(work, found)


@cost_app.command()
def limit(
    tenant: TenantId = None,
    tier: Annotated[str | None, typer.Option(help="A tier, such as free, for all its tenants.")] = None,
    video_usd: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="What one video may cost in all; off, or default.")
    ] = None,
    month_usd: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="What a month may cost; off, or default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show or set limits, in US dollars. Without an amount they are shown.

    `off` is no limit; `default` is the tier's for a tenant, and the installation's for a tier.
    """
    changes = video_usd is not None or month_usd is not None
    here = parts(Use.WRITE if changes else Use.READ)
    if tenant is not None and tier is not None:
        raise InvalidArgumentError("give --tenant or --tier, not both")
    if tier is not None:
        _limit_tier(here, tier, video_usd, month_usd, as_json)
        return
    tenant = tenant or str(here.settings.tenant_id)
    row = here.catalog.get_tenant(tenant)
    if video_usd is not None or month_usd is not None:
        row = here.catalog.set_tenant_cost_limits(
            tenant,
            video_usd=_chosen(video_usd, row.video_cost_limit_usd),
            month_usd=_chosen(month_usd, row.month_cost_limit_usd),
        )
    costs = here.catalog.tenant_costs(
        tenant,
        video_limit_usd=here.settings.video_cost_limit,
        month_limit_usd=here.settings.month_cost_limit,
    )
    if as_json:
        _print_json({"tenant_id": row.tenant_id, "tenant": row.name, "tier": row.tier, **asdict(costs)})
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("tenant", f"{row.name} ({row.tenant_id}), tier {row.tier}")
    table.add_row("a video may cost", _limit_words(costs.video_limit_usd))
    table.add_row("a month may cost", _limit_words(costs.month_limit_usd))
    table.add_row("spent this month", _dollars(costs.month_spent_usd))
    table.add_row("set aside for work that runs", _dollars(costs.reserved_usd))
    if row.quota_exempt:
        table.add_row("", "No limit applies: the tenant is exempt from quotas.")
    console.print(table, highlight=False, markup=False)


def _limit_tier(here: Parts, tier: str, video_usd: str | None, month_usd: str | None, as_json: bool) -> None:
    catalog = here.catalog
    rows = {row.tier: row for row in catalog.list_access_tiers()}
    if tier not in rows:
        raise InvalidArgumentError(f"tier {tier!r} does not exist; there are {', '.join(rows)}")
    row = rows[tier]
    if video_usd is not None or month_usd is not None:
        row = catalog.set_tier_cost_limits(
            tier,
            video_usd=_chosen(video_usd, row.video_cost_limit_usd),
            month_usd=_chosen(month_usd, row.month_cost_limit_usd),
        )
    amounts = {"video_limit_usd": row.video_cost_limit_usd, "month_limit_usd": row.month_cost_limit_usd}
    if as_json:
        _print_json({"tier": tier, **{name: _finite(amount) for name, amount in amounts.items()}})
        return
    video, month = (
        "the installation's limit" if amount is None else _limit_words(_finite(amount))
        for amount in amounts.values()
    )
    console.print(f"tier {tier}: a video may cost {video}, a tenant's month {month}", highlight=False)


def _chosen(given: str | None, now: float | None) -> float | None:
    """The amount that an option names; what is in force where it is not given."""
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
        raise InvalidArgumentError(
            f"{given[:40]!r} is no amount in US dollars: give one such as 12.50, off or default"
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
        raise InvalidArgumentError(
            f"{shown!r} is no resolution: give one such as 1920x1080, at most {MAX_SIDE} a side"
        )
    return width, height


def _month_start(moment: datetime, back: int) -> datetime:
    """The first moment of the month ``back`` months before that of ``moment``."""
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
    table.add_row("all", "", "", str(calls), f"{seconds:.0f}", f"{minutes:.1f}", total)
    console.print(table, highlight=False, markup=False)


def _print_estimates(work: VideoWork, found: list[Estimate]) -> None:
    console.print(
        f"{work.seconds / 60:g} minutes at {work.width} × {work.height}, {work.caption_count} captions",
        highlight=False,
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("function", overflow="fold")
    table.add_column("GPU")
    for heading in ("calls", "at once", "container s", "wall s", "images", "cost"):
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
    table.add_row("all", "", "", "", f"{seconds:.0f}", f"{wall:.0f}", str(images), _dollars(total))
    console.print(table, highlight=False)


def _limit_words(amount: float | None) -> str:
    return "anything" if amount is None else _dollars(amount)


def _finite(amount: float | None) -> float | None:
    return None if amount is None or math.isinf(amount) else amount


def _dollars(amount: float) -> str:
    return f"${amount:.4f}" if amount < 1 else f"${amount:,.2f}"


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")
