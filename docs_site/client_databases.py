"""The columns of the SQLite files that clients and the pipeline share, from their schemas."""

import dagster as dg

from captionacc_dagster.assets.labels import column_schema
from docs_site.markdown import cell, code, table
from modal_gpu.databases import captions, extents, layout, raw_ocr
from modal_gpu.databases.checked import FileKind

KINDS: tuple[FileKind, ...] = (raw_ocr.KIND, layout.KIND, extents.KIND, captions.KIND)

#: What a name does not say, by file and column.
MEANINGS: dict[str, dict[str, str]] = {
    raw_ocr.KIND.name: {
        "frames.status": "ok: text was read; empty: there is none; failed: OCR failed on the frame",
        "frames.error": "why OCR failed",
        "full_frame_ocr.box_index": "number of the line in its frame",
        "full_frame_ocr.text": "a line of text",
        "full_frame_ocr.confidence": "of OCR",
    },
    layout.KIND.name: {
        "boxes.box_index": "number of the line in its frame",
        "boxes.text": "a line of text, as OCR read it",
        "boxes.label": "a person's: a caption, not a caption, or taken back",
        "boxes.predicted_label": "the analysis's",
        "layout_config.vertical_center": "centre of the most frequent line, as a fraction of the height",
        "layout_config.box_height": "height of that line, as a fraction of the height",
        "layout_config.anchor_type": "how lines are aligned",
        "layout_config.anchor_position": "of that edge or centre, as a fraction of the width",
        "layout_config.confidence": "that captions are there; without a caption band: that there are none",
        "layout_config.caption_band_found": "0: the crop region is a fallback",
        "layout_config.reason": "what the analysis found, in a sentence",
        "layout_config.crop_region_version": "how often the approved region and zones have changed",
        "caption_zones.language": "of the zone's captions, as a BCP-47 tag; null: the video's",
    },
    extents.KIND.name: {
        "run_metadata.total_pairs": "number of rows of pair_results",
        "pair_results.frame1_index": "the earlier frame of the pair",
        "pair_results.forward_predicted_label": "the most probable label",
        "pair_results.forward_confidence": "its probability",
        "pair_results.backward_predicted_label": "the same with the frames exchanged",
    },
    captions.KIND.name: {
        "captions.end_frame_index": "the last frame, inclusive",
        "captions.caption_frame_extents_state": "predicted by a run; or a person's: gap is no caption",
        "captions.caption_frame_extents_pending": "1: start and end are uncertain, a person should look",
        "captions.caption_frame_extents_confidence": "of start and end",
        "captions.text": "a person's text; null: none was written; empty: no caption",
        "captions.text_pending": "1: no person has reviewed the text",
        "captions.text_status": "a person's mark; the platform keeps it",
        "captions.text_notes": "a person's notes; the platform keeps them",
        "captions.caption_ocr": "the text that OCR read; shown where text is null",
        "captions.caption_ocr_status": "queued: not read yet; error: caption_ocr_error says why",
        "captions.image_needs_regen": "1: the range has changed since OCR read it",
        "captions.start_seconds": "first source frame that shows it, on the index axis",
        "captions.end_seconds": "first source frame that no longer shows it, on the index axis",
        "captions.zone": "caption zone; 0 is the crop region",
    },
}


def database_reference() -> str:
    """Return a section for each file, with its tables' columns."""
    return "\n\n".join(_section(kind) for kind in KINDS)


def _section(kind: FileKind) -> str:
    columns = column_schema(kind).columns
    names = list(dict.fromkeys(column.name.partition(".")[0] for column in columns))
    earlier = "".join(
        f" Version {version} lacks {', '.join(map(code, sorted(lacking)))}, and is still read."
        for version, lacking in kind.earlier.items()
    )
    about = f"Schema version {kind.version}; at most {kind.max_mib} MiB unpacked.{earlier}"
    parts = [f"## {kind.name}", about]
    for name in names:
        of_table = [column for column in columns if column.name.startswith(f"{name}.")]
        parts.append(f"### {name} of {kind.name}")
        if name in kind.optional:
            parts.append("A file may lack this table.")
        parts.append(table(_HEADINGS, (_row(column, kind) for column in of_table)))
    return "\n\n".join(parts)


_HEADINGS = ("column", "type", "null", "constraints", "meaning")


def _row(column: dg.TableColumn, kind: FileKind) -> tuple[str, str, str, str, str]:
    others = "; ".join(code(text) for text in column.constraints.other) or "–"
    null = "yes" if column.constraints.nullable else "no"
    name = column.name.partition(".")[2]
    meaning = MEANINGS.get(kind.name, {}).get(column.name) or column.description or ""
    return code(name), column.type, null, others, cell(meaning)
