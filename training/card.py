"""``python -m training.card MODEL --results FILE``: the model card, written from measured results.

``FILE`` is the output of ``python -m benchmarks.extents --json``. The card is Markdown and is written next to
the model.
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from modal_gpu.extents.checkpoint import verify

_DATA = """\
Rendered clips only: captions by a scripted timeline over moving footage, photographs and textures, every
source frame through x264 and its decoder, 10 Hz strips taken as the pipeline takes them. Footage: Big
Buck Bunny (Blender Foundation, CC BY 3.0), Intel sample videos (CC BY 4.0), imageio's cockatoo;
photographs from the scikit-image and scikit-learn wheels. Fonts from Debian. Nine scripts. The splits
share no footage, no font file and no text; a seed gives the same clips. Some training clips, and no test
clip, have the same footage at other sizes and speeds, turned, negative or one before the other."""

_LIMITS = """\
* Luma only: captions that differ from their background in colour alone are not seen.
* The network needs the layout's line height (within about 20 %) and works best with its other hints.
* A caption that stands unchanged through a whole short video, in a place where no caption was observed,
  looks like a logo.
* The real clips share footage with the training clips (not their captions, fonts or encodings); the test
  clips do not.
* Not trained on: vertical text, text that moves while it is shown (roll-up captions, typewriter effects),
  handwriting."""


def markdown(card: dict, results: dict | None) -> str:
    """Build the card's text. ``results`` are the benchmark's, by kind of clip, predictor and case."""
    lines = [
        f"# Caption frame extents model {card['version']}",
        "",
        f"sha256 `{card['sha256']}` · {card['date']} · {card['parameters']:,} parameters · "
        f"data version {card['data_version']}",
        "",
        f"Made by `{card['command']}`, {card['training_minutes']} minutes of steps and validation; settings:",
        "",
        "```json",
        json.dumps(card["settings"]),
        "```",
        "",
        "## Data",
        "",
        _DATA,
    ]
    if results:
        for kind, title in (("rendered", "Test clips"), ("real", "Real clips")):
            lines += ["", f"## {title}", ""]
            lines += _table(results[kind])
            if kind == "rendered" and results["times"]["network"]:
                lines += ["", "Starts and ends, on clips that keep every source frame:", ""]
                lines += _times_table(results["times"]["network"])
        lines += [
            "",
            "Caption F1 counts captions with both ends within one 10 Hz frame. "
            "By `python -m benchmarks.extents`; strokes is the classical predictor.",
        ]
    lines += ["", "## Limits", "", _LIMITS, ""]
    return "\n".join(lines)


def _table(scores: dict[str, dict[str, dict]]) -> list[str]:
    names = list(scores)
    head = [
        "case",
        "captions",
        *(f"{name}: {what}" for name in names for what in ("caption F1", "pair accuracy")),
    ]
    rows = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for case in sorted(scores[names[0]], key=lambda case: case.startswith("script:")):
        first = scores[names[0]][case]
        cells = [case, str(first["captions"])]
        for name in names:
            cells += [f"{scores[name][case]['caption_f1']:.3f}", f"{scores[name][case]['pair_accuracy']:.4f}"]
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def _times_table(errors: dict[str, dict]) -> list[str]:
    rows = ["| case | starts and ends | median error | 95 % within | within a source frame |"]
    rows.append("|" + " --- |" * 5)
    for case, figures in errors.items():
        if figures["ends"]:
            rows.append(
                f"| {case} | {figures['ends']} | {figures['median_ms']:.0f} ms | {figures['p95_ms']:.0f} ms "
                f"| {figures['within_a_source_frame']:.1%} |"
            )
    return rows


def main(
    model: Annotated[Path, typer.Argument(help="The model file; its figures of training lie beside it.")],
    results: Annotated[Path | None, typer.Option(help="JSON of benchmarks.extents.")] = None,
) -> None:
    """Write the card next to the model."""
    checkpoint = verify(model)
    card = json.loads(model.with_suffix(".json").read_text())
    if card["sha256"] != checkpoint.sha256:
        raise typer.BadParameter(f"{model.with_suffix('.json')} belongs to another model")
    measured = json.loads(results.read_text()) if results else None
    model.with_suffix(".md").write_text(markdown(card, measured))


if __name__ == "__main__":
    typer.run(main)
