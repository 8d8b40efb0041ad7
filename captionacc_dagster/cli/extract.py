"""``extract``: subtitles beside videos, in this process, without a platform."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from captionacc_dagster.cli import json_models as models
from captionacc_dagster.cli.crop_option import CropOption, parse_crop
from captionacc_dagster.cli.exit_codes import ExitCode
from captionacc_dagster.cli.extract_progress import shown_progress
from captionacc_dagster.cli.files import Force, write_output
from captionacc_dagster.cli.formats import FormatOption, formats_of
from captionacc_dagster.cli.inputs import Input, check_video, find_videos
from captionacc_dagster.cli.json_output import AsJson, print_json
from captionacc_dagster.cli.root import StoppedError, app, note, notes, printable, say
from captionacc_dagster.cli.usage import as_usage_errors
from modal_gpu.disk_full import disk_full
from modal_gpu.errors import CaptionAccError

if TYPE_CHECKING:
    from modal_gpu.captions.growth import Growing
    from modal_gpu.captions.subtitles import SubtitleFormat
    from modal_gpu.extraction.extraction import Extraction
    from modal_gpu.functions.settings import ComputeSettings


@dataclass
class Report:
    """The result of one video; ``status`` is ``done``, ``kept``, ``unapproved`` or ``failed``.

    ``note`` says why, or what a person should know; ``files`` are the subtitles that exist now.
    """

    video: Path
    status: Literal["done", "kept", "unapproved", "failed"]
    note: str = ""
    files: list[Path] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def row(self) -> models.Extracted:
        """Return the result for JSON."""
        return models.Extracted(
            video=str(self.video),
            status=self.status,
            note=self.note,
            files=[str(file) for file in self.files],
            **{name: self.facts.get(name) for name in _FACTS},
        )


_FACTS = ("captions", "duration_seconds", "seconds", "zones", "layout")


@app.command()
def extract(
    videos: Annotated[list[Path], typer.Argument(metavar="VIDEO…", help="files, folders, or patterns")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="default: beside each video")
    ] = None,
    format: FormatOption = "srt",
    crop_region: CropOption = None,
    language: Annotated[
        str | None, typer.Option(metavar="TAGS", help="of the captions, such as ko,en; default: OCR_LANGUAGE")
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write the subtitles of videos, without a platform: nothing but these files is kept.

    The captions are those that `ingest` makes. A video whose subtitles exist is skipped.

    Exit code 1: a video failed; 3: none failed, but one needs `--crop-region`.
    """
    formats, crop = formats_of(format), parse_crop(crop_region)
    found = find_videos(videos)
    run = _Run(output, formats, crop, _languages(language), force=force)
    reports = [Report(name, "failed", reason) for name, reason in found.refused]
    for report in reports:
        _show(report)
    try:
        for number, video in enumerate(found.videos, 1):
            report = run.report(video, number, len(found.videos))
            reports.append(report)
            _show(report, quiet=as_json)
    except KeyboardInterrupt:
        left = len(found.videos) + len(found.refused) - len(reports)
        raise StoppedError(
            f"Stopped: {left} of {len(found.videos)} videos are left; the same command goes on with them."
        ) from None
    finally:
        if as_json:
            print_json(models.ExtractedVideos(videos=[report.row() for report in reports]))
    _finish(reports, quiet=as_json)


@dataclass
class _Run:
    """One command: its options, the outputs that are taken, and the error after which nothing is tried."""

    output: Path | None
    formats: "Sequence[SubtitleFormat]"
    crop: "tuple[float, float, float, float] | None"
    languages: tuple[str, ...]
    force: bool
    taken: dict[Path, Path] = field(default_factory=dict)
    end: str = ""
    _settings: "ComputeSettings | None" = None

    def report(self, video: Input, number: int, count: int) -> Report:
        """Process one video; every error but an interrupt becomes its result."""
        try:
            return self._report(video, number, count)
        except CaptionAccError as error:
            if error.lies_with_service:
                self.end = "not tried after this error"
            return Report(video.path, "failed", str(error))
        except Exception as error:
            if full := disk_full(error):
                self.end = "not tried on a full disk"
                return Report(video.path, "failed", str(full))
            if isinstance(error, OSError):
                what = f"{error.filename}: " if error.filename not in (None, str(video.path)) else ""
                return Report(video.path, "failed", f"{what}{error.strerror or error}")
            return Report(video.path, "failed", f"unexpected {type(error).__name__}: {error}")

    def _report(self, video: Input, number: int, count: int) -> Report:
        if self.end:
            return Report(video.path, "failed", self.end)
        outputs = self._outputs(video)
        for path in outputs.values():
            if (other := self.taken.setdefault(path, video.path)) != video.path:
                return Report(video.path, "failed", f"{other} has the same output, {path}: give another `-o`")
        there = [path for path in outputs.values() if path.exists()]
        if len(there) == len(outputs) and not self.force:
            return Report(video.path, "kept", "exists already and was kept: `--force` replaces it", there)
        check_video(video.path)
        return self._extracted(video, outputs, number, count)

    def _outputs(self, video: Input) -> "dict[SubtitleFormat, Path]":
        folder = video.path.parent if self.output is None else self.output / video.folder
        return {format: folder / f"{video.stem}.{format}" for format in self.formats}

    def _extracted(
        self, video: Input, outputs: "dict[SubtitleFormat, Path]", number: int, count: int
    ) -> Report:
        started = time.monotonic()
        with shown_progress(video.path.name, number, count) as progress:
            from captionacc_dagster.resources.compute_settings import compute_settings
            from captionacc_dagster.settings import get_settings
            from modal_gpu.extraction.extraction import Approval, LayoutNotApprovedError, extract_captions

            installation = get_settings()
            if self._settings is None:
                own = compute_settings(installation)
                self._settings = replace(own, ocr_languages=self.languages or own.ocr_languages)
            growing = installation.growing_captions
            approval = Approval(installation.auto_approve_layout, self._crop_of(video.path))
            try:
                result = extract_captions(video.path, self._settings, approval, progress)
            except LayoutNotApprovedError as error:
                return Report(
                    video.path, "unapproved", f"{error} Name the place: `--crop-region LEFT,TOP,RIGHT,BOTTOM`"
                )
        files = []
        for format, path in outputs.items():
            if path.exists() and not self.force:
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            data = result.encoded(format, growing)
            write_output(path, data, force=self.force)
            files.append(path)
        return Report(
            video.path, "done", _note(result), files, _facts(result, growing, time.monotonic() - started)
        )

    def _crop_of(self, video: Path) -> Any:
        """Return the crop region that was given, in fractions of this video."""
        if self.crop is None:
            return None
        from captionacc_dagster.operations.regions import region_of

        if max(self.crop) <= 1:
            return region_of(self.crop, None)
        from modal_gpu.media.probe import probe

        return region_of(self.crop, probe(video).shown_size)


def _languages(tags: str | None) -> tuple[str, ...]:
    """Return the languages that were given. Raises a usage error for a bad tag."""
    if not tags:
        return ()
    from modal_gpu.ocr.languages.tags import parse_languages

    with as_usage_errors():
        return parse_languages(tags, "--language")


def _note(result: "Extraction") -> str:
    from modal_gpu.captions.reading import unreadable_note
    from modal_gpu.ocr.languages.finding import UNREADABLE

    finding, unread = result.layout.reason, unreadable_note(result.captions)
    notes = [unread] if unread else []
    if not unread and (not result.layout.caption_band_found or finding.startswith(UNREADABLE)):
        notes = [finding]
    return "; ".join([*notes, *filter(None, [result.damage])])


def _facts(result: "Extraction", growing: "Growing", seconds: float) -> dict[str, Any]:
    from captionacc_dagster.cli.regions import as_region
    from modal_gpu.captions.subtitles import shown
    from modal_gpu.contracts import crop_regions

    layout = result.layout
    regions = crop_regions(layout.crop_region, layout.caption_zones)
    size = (result.facts.frame_width, result.facts.frame_height)
    return {
        "captions": len(shown(result.captions, result.timeline, growing)),
        "duration_seconds": round(result.facts.duration, 3),
        "seconds": round(seconds, 2),
        "zones": [as_region(crop, size) for crop in regions.values()],
        "layout": models.Layout(
            found=layout.caption_band_found,
            confidence=round(layout.confidence, 4),
            reason=layout.reason,
        ),
    }


def _show(report: Report, *, quiet: bool = False) -> None:
    name = printable(report.video)
    if report.status == "done":
        count = report.facts["captions"]
        what = f"{count} caption{'' if count == 1 else 's'}" if count else "no captions found"
        files = ", ".join(map(str, report.files))
        if not quiet:
            say(f"✓ {name}: {what} in {report.facts['seconds']:.1f} s, {files}")
        if report.note:
            note(f"  {name}: {report.note}")
    elif report.status == "kept":
        note(f"{', '.join(map(str, report.files))}: {report.note}")
    else:
        mark, style = ("✗", "red") if report.status == "failed" else ("?", "yellow")
        notes.print(mark, style=style, end=" ")
        note(f"{name}: {report.note}")


def _finish(reports: Sequence[Report], *, quiet: bool) -> None:
    """Print a summary of several videos, and exit with the code for their results."""
    counts: Counter[str] = Counter(report.status for report in reports)
    if len(reports) > 1 and not quiet:
        words = {
            "done": "done",
            "kept": "had subtitles",
            "unapproved": "need a crop region",
            "failed": "failed",
        }
        parts = [f"{counts[status]} {word}" for status, word in words.items() if counts[status]]
        note(f"{len(reports)} videos: {', '.join(parts)}.")
    if counts["failed"]:
        raise typer.Exit(ExitCode.FAILED)
    if counts["unapproved"]:
        raise typer.Exit(ExitCode.NEEDS_CROP_REGION)
