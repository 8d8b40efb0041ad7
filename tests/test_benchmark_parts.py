"""The speed benchmark's parts: every name exists, and time inside an inner part counts once."""

import time

import pytest

from benchmarks.parts import PARTS, REST, Ledger, measured_parts


def burn(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def test_every_part_is_found_and_put_back():
    from modal_gpu.functions import caption_ocr

    original = caption_ocr.median_image
    with measured_parts() as ledger:
        assert caption_ocr.median_image is not original
        assert ledger.seconds == {}
    assert caption_ocr.median_image is original
    assert len(PARTS) > 10


def test_time_of_an_inner_part_is_not_counted_in_the_outer_one_too():
    ledger = Ledger()
    inner = ledger.timed("inner", lambda: burn(0.02))

    def outer() -> None:
        burn(0.01)
        inner()

    ledger.timed("outer", outer)()
    assert ledger.seconds["inner"] == pytest.approx(0.02, abs=0.015)
    assert ledger.seconds["outer"] == pytest.approx(0.01, abs=0.015)
    assert ledger.seconds["outer"] < ledger.seconds["inner"]
    rows = ledger.rows(total=1.0)
    assert next(iter(rows)) == "inner" and sum(rows.values()) == pytest.approx(1.0)
    assert rows[REST] > 0.9
