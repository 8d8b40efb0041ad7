"""Languages that are changed while a run reads: what was read in the former ones is read again."""

from dataclasses import replace

from captionacc_dagster.resources.catalog import VideoRow
from captionacc_dagster.sensors.caption_ocr_requests import caption_ocr_requests
from modal_gpu.contracts import CaptionOcrRequest
from modal_gpu.databases.captions import read_captions, write_captions
from tests.line_fixtures import Line
from tests.run_results import failure


def reading_requests(line: Line) -> list[CaptionOcrRequest]:
    return [request for name, request in line.compute.calls if name == "caption_ocr"]


def test_languages_set_during_a_run_are_those_of_the_next_one(line: Line, laid_out: VideoRow):
    video_id, keys = laid_out.video_id, line.keys(laid_out.video_id)
    line.compute.after["caption_ocr"] = lambda request: line.catalog.set_video_languages(video_id, ["de"])
    result = line.run("captions", video_id)
    assert result.success, failure(result)
    row = line.row(video_id)
    assert row.text.status == "wait" and row.text.run_id is None
    [request] = reading_requests(line)
    assert request.languages == []

    first, *others = read_captions(line.store.get(keys.captions_db))
    assert first.ocr_status == "completed"
    corrected = replace(first, text="By a person", state="confirmed", pending=False)
    # As if the wrong model had read it.
    wrong = [replace(c, ocr_text="Wrong") for c in others]
    line.store.put(keys.captions_db, write_captions([corrected, *wrong]), "application/gzip")
    [asked] = line.tick(caption_ocr_requests).run_requests
    assert asked.partition_key == row.partition_key
    result = line.run("caption_text", video_id)
    assert result.success, failure(result)
    row = line.row(video_id)
    assert row.text.status == "annotate" and not row.has_other_languages
    assert [request.languages for request in reading_requests(line)] == [[], ["de"]]
    again = read_captions(line.store.get(keys.captions_db))
    assert [c.best_text for c in again] == ["By a person", *(c.ocr_text for c in others)]
