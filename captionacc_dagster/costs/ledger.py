"""Costs in the catalogue: reserved before remote calls, charged after them, within limits."""

from collections.abc import Iterable
from dataclasses import dataclass

from captionacc_dagster.costs.estimates import Charge, CostLimitError, Estimate, actual
from captionacc_dagster.resources.catalog import Catalog, ComputeCallRow
from captionacc_dagster.settings import Settings
from modal_gpu.deployment.settings import ModalSettings, modal_settings
from modal_gpu.prices import PriceTable, price_table


@dataclass(frozen=True)
class CostPolicy:
    """Prices, the deployment they apply to, and the installation's limits in US dollars (``None``: none)."""

    app: ModalSettings
    prices: PriceTable
    video_limit_usd: float | None
    month_limit_usd: float | None
    #: How long a reservation counts after its run died.
    life_seconds: float = 86_400.0


def cost_policy(settings: Settings) -> CostPolicy:
    """Return the installation's policy. Raises :class:`ConfigurationError` for invalid prices."""
    return CostPolicy(
        app=modal_settings(),
        prices=price_table(settings.prices),
        video_limit_usd=settings.video_cost_limit,
        month_limit_usd=settings.month_cost_limit,
        life_seconds=settings.modal_result_seconds,
    )


def reserve(
    catalog: Catalog,
    policy: CostPolicy,
    video_id: str,
    run_id: str,
    expected: Estimate,
    frame_count: int | None = None,
) -> None:
    """Reserve an estimate before the first call of a function for a video.

    Raises :class:`CostLimitError` beyond a limit; the catalogue then has a rejection with the same message.
    """
    granted, message = catalog.reserve_cost(
        video_id,
        run_id,
        expected.function,
        expected.usd,
        video_limit_usd=policy.video_limit_usd,
        month_limit_usd=policy.month_limit_usd,
        life_seconds=policy.life_seconds,
        frame_count=frame_count,
    )
    if not granted:
        raise CostLimitError(message)


def charge(catalog: Catalog, policy: CostPolicy, rows: Iterable[ComputeCallRow]) -> list[Charge]:
    """Charge calls that ended; a call that was charged before keeps its first cost."""
    charges = []
    for row in rows:
        cost = actual(
            row.function_name,
            row.usage,
            policy.app,
            policy.prices,
            started_at=row.started_at,
            finished_at=row.finished_at,
        )
        catalog.charge_compute_call(
            row.id,
            cost.usd,
            cost.seconds,
            metadata={
                "gpu": cost.gpu,
                "gpu_seconds": cost.gpu_seconds,
                "vision_images": cost.vision_images,
                "measured": cost.measured,
            },
        )
        charges.append(cost)
    return charges


def charge_abandoned(catalog: Catalog, policy: CostPolicy, limit: int = 1000) -> int:
    """Charge calls that ended after their run had died, oldest first; return how many.

    For upkeep, and before costs are reported. Calls that ended in the last minutes are left to their run.
    """
    rows = catalog.uncharged_compute_calls(older_than_seconds=600, limit=limit)
    return len(charge(catalog, policy, rows))
