"""Small footage made in the test, so that clips can be rendered without the shared data."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from training import fonts
from training.footage import STILLS, VIDEOS, Footage, _store


@pytest.fixture(scope="session")
def footage(tmp_path_factory) -> Footage:
    """Moving blobs under the names of the real files, already in the cache."""
    cache = tmp_path_factory.mktemp("footage")
    made = Footage(Path("no-backgrounds"), cache)
    rng = np.random.default_rng(5)
    for name in [name for names in VIDEOS.values() for name in names]:
        blobs = cv2.GaussianBlur(rng.normal(128, 400, (90, 400)).astype(np.float32), (0, 0), 6)
        frames = [np.roll(blobs, 3 * k, axis=1)[:, :160] for k in range(20)]
        _store(made._path(name), np.clip(frames, 0, 255).astype(np.uint8), 25.0)
    for _, name in [pair for pairs in STILLS.values() for pair in pairs]:
        _store(made._path(name), rng.integers(0, 255, (1, 120, 200), dtype=np.uint8), 1.0)
    return made


@pytest.fixture(autouse=True)
def any_installed_font(monkeypatch):
    """Where the training fonts are not installed, a font that comes with Pillow stands in for all."""
    if fonts.missing():
        from PIL import ImageFont

        monkeypatch.setattr(fonts.FontFace, "load", lambda self, size: ImageFont.load_default(size))


@pytest.fixture(autouse=True)
def one_thread():
    """Tiny tensors gain nothing from threads that wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
