"""What the fork server loads for its runs, each time in a process of its own."""

import os
import subprocess
import sys

import pytest

#: Reads a caption in a fork with two threads, as a run does, and prints how many models that loaded.
SCRIPT = """
import os, sys, threading
import captionacc_dagster.resources.warm_start
print(" ".join(name for name in ("torch", "modal", "onnxruntime", "av") if name in sys.modules), flush=True)
if "onnxruntime" in sys.modules:
    import cv2, numpy as np
    from captionacc_dagster.resources.compute_settings import compute_settings
    from captionacc_dagster.settings import get_settings
    from modal_gpu.ocr.kept import kept_rapid_ocr
    picture = np.zeros((360, 640, 3), np.uint8)
    cv2.putText(picture, "Every evening", (60, 320), cv2.FONT_HERSHEY_SIMPLEX, 1.5, (255, 255, 255), 3)
    if os.fork() == 0:
        engine, found = compute_settings(get_settings()).open_ocr("frames"), []
        threads = [threading.Thread(target=lambda: found.append(engine.recognize(picture))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(*(lines[0].text for lines in found), kept_rapid_ocr.cache_info().misses, sep="|", flush=True)
        os._exit(0)
    assert os.wait()[1] == 0
"""


def warmed(tmp_path, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT],
        env={**os.environ, "CAPTIONACC_HOME": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.skipif(sys.platform != "linux", reason="runs are forked on Linux only")
def test_a_fork_reads_with_models_that_it_has_not_loaded(tmp_path):
    assert warmed(tmp_path) == ["onnxruntime av", "Every evening|Every evening|2"]


def test_nothing_is_loaded_where_modal_computes(tmp_path):
    assert warmed(tmp_path, MODAL_ENABLED="true") == [""]


def test_an_error_is_left_to_the_run(tmp_path):
    lines = warmed(tmp_path, OCR_RECOGNITION_MODEL=str(tmp_path / "missing.onnx"), CAPTIONACC_MAX_RUNS="x")
    assert lines == [""]
