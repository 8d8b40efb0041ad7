"""Small footage made in the test, so that clips can be rendered without the shared data."""

import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import ImageFont

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


#: Packages of the ``dev`` extra that bring fonts, by script. Noto Sans CJK has Latin, Cyrillic and Greek too.
PACKAGE_OF_SCRIPT = {
    "arabic": "fontpkg_noto_sans_arabic",
    "devanagari": "fontpkg_noto_sans_devanagari",
    "thai": "fontpkg_noto_sans_thai",
}
PACKAGE_OF_OTHERS = "noto_cjk_sans_jp_regular"


@cache
def font_file(script: str) -> Path:
    """A font for a script, out of a pinned package."""
    (folder,) = importlib.util.find_spec(
        PACKAGE_OF_SCRIPT.get(script, PACKAGE_OF_OTHERS)
    ).submodule_search_locations
    (file,) = (path for path in Path(folder).rglob("*") if path.suffix in (".otf", ".ttf"))
    return file


@pytest.fixture(scope="session", autouse=True)
def fonts_of_packages() -> Iterator[None]:
    """Replace the system's fonts, so that clips are the same on every machine.

    It has the scope of the session and is automatic, because other fixtures of the session render clips.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            fonts.FontFace, "load", lambda self, size: ImageFont.truetype(str(font_file(self.script)), size)
        )
        yield


@pytest.fixture(autouse=True)
def one_thread():
    """Tiny tensors gain nothing from threads that wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
