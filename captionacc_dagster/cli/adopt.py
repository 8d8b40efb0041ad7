"""``adopt``: take over the videos of the predecessor, the platform on Prefect, and give them back."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from captionacc_dagster.cli import adoption_models as models
from captionacc_dagster.cli.app import Parts, Use, parts
from captionacc_dagster.cli.deployment import use_dagster_home
from captionacc_dagster.cli.json_output import AsJson, print_json
from captionacc_dagster.cli.root import app, console, note, say
from captionacc_dagster.cli.usage import usage_error

if TYPE_CHECKING:
    from captionacc_dagster.adoption.apply import Adopted
    from captionacc_dagster.adoption.plan import Plan, Planner
    from captionacc_dagster.adoption.predecessor import Predecessor
    from captionacc_dagster.resources.catalog import VideoRow

#: Rows of the catalogue that are read at once.
_PAGE = 500


@app.command()
def adopt(
    tenant: Annotated[
        str | None,
        typer.Option(metavar="TENANT", help="only this tenant's videos: name, id, or start of an id"),
    ] = None,
    video: Annotated[
        str | None, typer.Option(metavar="VIDEO", help="only this video: name, id, or start of an id")
    ] = None,
    apply: Annotated[bool, typer.Option("--apply/--dry-run", help="do it, or only show it")] = False,
    export: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="the way back: write captions and layouts as the predecessor's files here"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take over the videos of the predecessor on Prefect, which is only read; people's work is kept.

    Without --apply, only show what would become of each video and what its runs would cost. It continues
    where it was interrupted, and finds what has changed there since. The settings
    CAPTIONACC_ADOPT_DATABASE_URL (or _SUPABASE_URL and _SUPABASE_KEY), _SCHEMA and _STORAGE_URL say where the
    predecessor is.
    """
    if export is not None:
        if apply:
            raise usage_error("`--export` writes files for the predecessor and takes no `--apply`")
        _export(parts(), export, tenant, video, as_json=as_json)
        return
    from captionacc_dagster.adoption.predecessor import open_predecessor

    here = parts(Use.MAKE if apply else Use.READ)
    with closing(open_predecessor(here.settings)) as old:
        planner = _planner(here, old)
        plans = planner.plans(**_selection(old, tenant, video))
        if apply:
            found, profiles = _applied(here, planner, plans)
        else:
            found = list(map(_planned, plans))
            profiles = sum(len(planner.profiles.get(tenant_id, ())) for tenant_id in _tenants(found))
    report = _summary(found, profiles, old.notes, applied=apply)
    print_json(report) if as_json else _print(report)


def _selection(old: "Predecessor", tenant: str | None, video: str | None) -> dict[str, str | None]:
    from captionacc_dagster.adoption.adopting import find_old_tenant, find_old_video

    return {
        "tenant_id": None if tenant is None else find_old_tenant(old, tenant),
        "video_id": None if video is None else find_old_video(old, video).video_id,
    }


def _planner(here: Parts, old: "Predecessor") -> "Planner":
    from captionacc_dagster.adoption.plan import Planner
    from captionacc_dagster.costs.ledger import cost_policy
    from captionacc_dagster.resources.compute import FanOut

    policy = cost_policy(here.settings)
    divides = policy.app.extents_predictor == "network"
    fan_out = FanOut(segment_frames=here.settings.segment_frames, max_parallel=10, divide_crops=divides)
    return Planner(old, policy, fan_out)


def _applied(
    here: Parts, planner: "Planner", plans: "Iterable[Plan]"
) -> tuple[list[models.AdoptedVideo], int]:
    """Adopt the videos; return them, and how many users got a profile."""
    import dagster as dg

    from captionacc_dagster.adoption.adopting import Adoption, check_stores
    from captionacc_dagster.adoption.apply import Adopter

    check_stores(planner.old.store, here.object_store)
    adopter = Adopter(planner.old, here.catalog, here.object_store, here.settings.growing_captions)
    use_dagster_home(here.settings, make=True)
    found = []
    with _only_one(here), dg.DagsterInstance.get() as instance:
        adoption = Adoption(planner, adopter, instance)
        for result in adoption.run(plans):
            found.append(_done(result))
            note(f"{found[-1].name}: {found[-1].state}")
    return found, adoption.profiles


@contextmanager
def _only_one(here: Parts) -> Iterator[None]:
    """Keep a second adoption from this home out. Raises :class:`ServiceError` if one runs."""
    from captionacc_dagster.platform.role_lock import RoleLock, ServiceError

    lock = RoleLock(here.settings.dagster_home / "services" / "adopt.lock")
    if not lock.take():
        raise ServiceError(f"{lock.holder() or 'another command'} adopts videos already: wait until it ends")
    try:
        yield
    finally:
        lock.release()


def _tenants(found: Iterable[models.AdoptedVideo]) -> set[str]:
    return {video.tenant_id for video in found if video.verdict != "refused"}


def _planned(plan: "Plan") -> models.AdoptedVideo:
    captions, layout = plan.captions, plan.layout
    return models.AdoptedVideo(
        video_id=plan.video.video_id,
        name=plan.video.name,
        tenant_id=plan.video.tenant_id,
        verdict=plan.verdict,
        reasons=list(plan.reasons),
        parts=[models.AdoptedPart(name=p.name, outcome=p.outcome, detail=p.detail) for p in plan.parts],
        edits=models.AdoptedEdits(
            captions=captions.of_people,
            labels=layout.labels,
            approved=layout.crop_region is not None,
            reviewed=list(captions.reviewed),
        ),
        functions=[run.function for run in plan.runs],
        usd=round(plan.usd, 4),
        state=None,
        detail="",
    )


def _done(result: "Adopted") -> models.AdoptedVideo:
    return _planned(result.plan).model_copy(update={"state": result.state, "detail": result.detail})


def _summary(
    found: list[models.AdoptedVideo], profiles: int, notes: list[str], *, applied: bool
) -> models.Adoption:
    return models.Adoption(
        applied=applied,
        verdicts=dict(Counter(video.verdict for video in found)),
        states=dict(Counter(video.state for video in found if video.state is not None)),
        usd=round(sum(video.usd for video in found), 4),
        edits=sum(_edits(video) for video in found if video.verdict != "refused"),
        profiles=profiles,
        notes=notes,
        videos=found,
    )


def _edits(video: models.AdoptedVideo) -> int:
    edits = video.edits
    return edits.captions + edits.labels + edits.approved + len(edits.reviewed)


def _print(report: models.Adoption) -> None:
    from captionacc_dagster.adoption.errors import MAYBE_HIDDEN
    from captionacc_dagster.adoption.plan import VERDICTS
    from captionacc_dagster.resources.catalog.rows.videos import SHORT_ID

    for sentence in report.notes:
        say(sentence)
    if not report.videos:
        say(f"The predecessor shows no such videos. {MAYBE_HIDDEN}")
        return
    table = Table(box=None, pad_edge=False)
    for heading in (
        "video",
        "file",
        "verdict",
        *(["state"] if report.applied else []),
        "edits",
        "cost",
        "why",
    ):
        table.add_column(heading, justify="right" if heading in ("edits", "cost") else "left")
    for video in report.videos:
        table.add_row(
            video.video_id[:SHORT_ID],
            escape(video.name),
            VERDICTS[video.verdict],
            *([video.state or ""] if report.applied else []),
            str(_edits(video) or ""),
            f"${video.usd:.3f}" if video.functions else "",
            escape("; ".join([*([video.detail] if video.detail else []), *video.reasons])),
        )
    console.print(table, highlight=False)
    counts = ", ".join(
        f"{report.verdicts[name]} {words}" for name, words in VERDICTS.items() if name in report.verdicts
    )
    say(f"{len(report.videos)} videos: {counts}. {report.edits} edits of people are kept.")
    say(f"The runs that follow cost about ${report.usd:.2f} on Modal; on this machine they cost its time.")
    if report.applied:
        say(f"{report.profiles} users got a profile here.")
        say(", ".join(f"{count} {state}" for state, count in sorted(report.states.items())) + ".")
    else:
        say("Nothing was changed; run it with --apply to do it.")


def _export(here: Parts, folder: Path, tenant: str | None, video: str | None, *, as_json: bool) -> None:
    from captionacc_dagster.adoption.export import exported_videos, write_exported

    files: list[str] = []
    notes: list[str] = []
    for row, exported in exported_videos(_here(here, tenant, video), here.object_store):
        write_exported(exported, folder)
        files += exported.files
        notes += [f"{row.display_path}: {left_out}" for left_out in exported.notes]
    if as_json:
        print_json(models.AdoptionExport(folder=str(folder), files=files, notes=notes))
        return
    for sentence in notes:
        say(sentence)
    say(f"{len(files)} files are in {folder}, under their keys in the predecessor's bucket.")


def _here(here: Parts, tenant: str | None, video: str | None) -> "Iterator[VideoRow]":
    """Yield this platform's videos, or a tenant's, or one."""
    from captionacc_dagster.operations.tenant_names import find_tenant

    if video is not None:
        yield here.find_video(video, only_one=True)
        return
    tenant_id = None if tenant is None else find_tenant(here.catalog, tenant).tenant_id
    before = None
    while rows := here.catalog.list_videos(_PAGE, tenant_id=tenant_id, before=before):
        yield from rows
        before = rows[-1]
