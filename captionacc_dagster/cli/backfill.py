"""``backfill``: process finished videos again with a newer extents model."""

import getpass
import shlex
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from captionacc_dagster.cli import json_operation_models as models
from captionacc_dagster.cli.app import Parts, Use, parts
from captionacc_dagster.cli.clocks import moment
from captionacc_dagster.cli.json_output import AsJson, print_json
from captionacc_dagster.cli.root import app, console, say
from captionacc_dagster.cli.usage import usage_error
from captionacc_dagster.operations import backfill_requests
from captionacc_dagster.operations.backfill_requests import CONDITIONS, ConditionError, check_model
from captionacc_dagster.resources.catalog import Backfill, BackfillChoice
from captionacc_dagster.resources.catalog.rows.videos import SHORT_ID

#: Reasons why the catalogue does not choose a video, each with what to do about it.
_ADVICE = {
    "on this model": "nothing to do",
    "reviewed": "people have finished them; --where status=reviewed includes them",
    "failed": "`captionacc retry` processes them with the current model",
    "in work": "a run is processing them; try again later",
    "in a backfill": "already requested; see --list",
    "not processed yet": "their first run will use the current model",
    "beyond the limit": "request them when these are done",
}
#: Numbers of a backfill's videos.
_COUNTED = ("waiting", "handed_out", "done", "skipped", "failed", "cancelled")
#: Failed videos shown for each backfill.
_SHOWN = 10


_HELP = """Process finished videos again with a newer extents model; people's edits are kept.

Backfills have the lowest priority. Without --apply, only show what would be done. --where accepts:

\b
""" + "\n".join(f"  {name + '=…':19}{meaning}" for name, meaning in CONDITIONS.items())


@app.command(help=_HELP)
def backfill(
    model_version: Annotated[
        str | None, typer.Option(help="the extents model to use; default: the current one")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="select videos, see above; repeat a name for alternatives, combine names to narrow",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="maximum number of videos, newest first")
    ] = None,
    apply: Annotated[bool, typer.Option("--apply/--dry-run", help="request it, or only show it")] = False,
    show: Annotated[bool, typer.Option("--list", help="show the progress of recent backfills")] = False,
    cancel: Annotated[
        str | None,
        typer.Option(metavar="BACKFILL", help="cancel a backfill's videos that have not started"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    chooses = bool(apply or where or limit or model_version)
    if show + (cancel is not None) + chooses > 1:
        raise usage_error("`--list` and `--cancel` take no other options but `--json`")
    here = parts(Use.WRITE if apply or cancel is not None else Use.READ)
    if show:
        found = _as_backfills(here)
        print_json(found) if as_json else _show(found)
        return
    if cancel is not None:
        _cancel(here, cancel, as_json=as_json)
        return
    _choose(here, model_version, where or [], limit, apply=apply, as_json=as_json)


def _choose(
    here: Parts,
    model_version: str | None,
    where: Sequence[str],
    limit: int | None,
    *,
    apply: bool,
    as_json: bool,
) -> None:
    """Choose videos, and request their backfill with ``apply``."""
    from captionacc_dagster.resources.compute_settings import model_in_use

    in_use = model_in_use(here.settings)
    check_model(model_version, in_use)
    choice = backfill_requests.request_backfill(
        here.catalog,
        in_use,
        read_conditions(here, where),
        asked_by=getpass.getuser(),
        limit=limit,
        apply=apply,
    )
    if as_json:
        print_json(_as_choice(choice, in_use))
        return
    _report(choice, in_use)
    if choice.backfill_id:
        console.print(
            f"Backfill {choice.backfill_id[:SHORT_ID]} requested. A running platform processes "
            f"{here.settings.backfill_queue} videos at a time, at the lowest priority; "
            "`captionacc backfill --list` shows its progress.",
            highlight=False,
        )
    elif choice.chosen:
        console.print(
            f"Nothing was requested; run `{_apply_command(model_version, where, limit)}` to request it.",
            highlight=False,
            markup=False,
        )


def _cancel(here: Parts, name: str, *, as_json: bool) -> None:
    chosen = _find(here, name)
    count = here.catalog.cancel_backfill(chosen.backfill_id)
    if as_json:
        print_json(models.Cancelled(backfill_id=chosen.backfill_id, cancelled=count))
    else:
        say(f"Backfill {chosen.backfill_id[:SHORT_ID]}: cancelled {count} videos that had not started.")


def read_conditions(here: Parts, given: Sequence[str]) -> dict[str, list[str]]:
    """Parse ``NAME=VALUE`` conditions for the catalogue. Raises a usage error for a bad one."""
    pairs = []
    for text in given:
        name, sign, value = text.partition("=")
        name, value = name.strip(), value.strip()
        if name not in CONDITIONS or not sign or not value:
            known = ", ".join(f"{known}=…" for known in CONDITIONS)
            raise usage_error(f"--where {text!r} is not one of {known}")
        pairs.append((name, value))
    try:
        return backfill_requests.read_conditions(here.catalog, pairs, here.find_video)
    except ConditionError as error:
        raise usage_error(f"--where {error}") from None


def _report(choice: BackfillChoice, model: str) -> None:
    seen = choice.chosen + sum(choice.skipped.values())
    console.print(
        f"{choice.chosen} of {seen} videos selected for {model}"
        + (": " + _models(choice.former_models) if choice.chosen else "."),
        highlight=False,
    )
    if choice.sample:
        table = Table(box=None, pad_edge=False)
        for heading in ("video", "file", "model", "tenant"):
            table.add_column(heading)
        for video in choice.sample:
            name, former = escape(video["display_path"]), video["model_version"] or "?"
            table.add_row(video["video_id"][:SHORT_ID], name, former, video["tenant_id"])
        if choice.chosen > len(choice.sample):
            table.add_row("…", f"and {choice.chosen - len(choice.sample)} more", "", "")
        console.print(table, highlight=False)
    if choice.skipped:
        table = Table(box=None, pad_edge=False)
        for heading in ("not selected", "reason", ""):
            table.add_column(heading)
        for reason, count in sorted(choice.skipped.items(), key=lambda item: -item[1]):
            table.add_row(str(count), reason, _ADVICE.get(reason, ""))
        console.print(table, highlight=False)


def _models(former: dict[str, int]) -> str:
    return ", ".join(f"{count} on {model or 'an unknown model'}" for model, count in sorted(former.items()))


def _apply_command(model_version: str | None, where: Sequence[str], limit: int | None) -> str:
    """Return the same command with ``--apply``."""
    words = ["captionacc", "backfill"]
    words += ["--model-version", model_version] if model_version else []
    words += [word for text in where for word in ("--where", text)]
    words += ["--limit", str(limit)] if limit else []
    return shlex.join([*words, "--apply"])


def _find(here: Parts, name: str) -> Backfill:
    rows = [row for row in here.catalog.list_backfills(1000) if row.backfill_id.startswith(name.lower())]
    if len(rows) != 1:
        raise ConditionError(
            f"{len(rows) or 'no'} backfills have an id that begins with {name!r}; "
            "`captionacc backfill --list` shows them"
        )
    return rows[0]


def _as_choice(choice: BackfillChoice, model: str) -> models.BackfillChoice:
    return models.BackfillChoice(
        backfill_id=choice.backfill_id,
        model_version=model,
        chosen=choice.chosen,
        former_models=choice.former_models,
        skipped=choice.skipped,
        sample=[
            models.BackfillVideo(
                video_id=video["video_id"],
                name=video["display_path"],
                tenant_id=video["tenant_id"],
                model_version=video["model_version"] or None,
            )
            for video in choice.sample
        ],
    )


def _as_backfills(here: Parts) -> models.Backfills:
    def failures(row: Backfill) -> list[models.BackfillFailure]:
        videos = here.catalog.list_backfill_videos(row.backfill_id, status="failed", limit=_SHOWN)
        return [models.BackfillFailure(video_id=video.video_id, detail=video.detail) for video in videos]

    return models.Backfills(
        backfills=[
            models.Backfill(
                backfill_id=row.backfill_id,
                model_version=row.model_version,
                conditions=row.conditions,
                requested_by=row.requested_by,
                requested_at=row.created_at,
                cancelled_at=row.cancelled_at,
                **{name: getattr(row, name) for name in _COUNTED},
                failures=failures(row),
            )
            for row in here.catalog.list_backfills()
        ]
    )


def _show(found: models.Backfills) -> None:
    if not found.backfills:
        console.print("No backfills.")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("backfill", "requested", "by", "model", "where"):
        table.add_column(heading)
    for heading in _COUNTED:
        table.add_column(heading.replace("_", " "), justify="right")
    for row in found.backfills:
        chosen_by = ", ".join(f"{k.replace('_', '-')}={v}" for k, vs in row.conditions.items() for v in vs)
        table.add_row(
            row.backfill_id[:SHORT_ID],
            moment(row.requested_at),
            escape(row.requested_by),
            row.model_version,
            escape(chosen_by),
            *(str(getattr(row, name)) for name in _COUNTED),
        )
    console.print(table, highlight=False)
    for row in found.backfills:
        for failure in row.failures:
            say(f"failed in {row.backfill_id[:SHORT_ID]}: {failure.video_id[:SHORT_ID]}: {failure.detail}")
