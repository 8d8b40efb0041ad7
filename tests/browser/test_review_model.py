"""The model and the outbox of the captions page, in Node.js, which has no window and no page."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser


def test_the_model_keeps_what_a_person_typed():
    done = subprocess.run(
        ["node", "--test", "--test-reporter=spec", Path(__file__).with_name("review_model.test.mjs")],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pass 13" in done.stdout
