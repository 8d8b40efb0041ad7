"""Fonts for the training captions, from Debian packages, by script. Each font file is in one split only."""

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from PIL import ImageFont

Split = Literal["train", "validation", "test"]

#: Folders that are searched for fonts, recursively; separated as in ``PATH``, empty for none.
FONT_FOLDERS = tuple(
    Path(folder)
    for folder in os.environ.get("CAPTIONACC_FONT_FOLDERS", "/usr/share/fonts").split(os.pathsep)
    if folder
)
#: Packages to install if fonts are missing (also in README.md).
DEBIAN_PACKAGES = (
    "fonts-dejavu fonts-liberation fonts-noto-core fonts-noto-cjk fonts-roboto-unhinted fonts-open-sans "
    "fonts-lato fonts-freefont-ttf fonts-wqy-zenhei fonts-wqy-microhei fonts-ipafont-gothic "
    "fonts-ipafont-mincho fonts-nanum fonts-unfonts-core fonts-thai-tlwg fonts-hosny-amiri fonts-kacst "
    "fonts-lohit-deva fonts-arphic-uming fonts-arphic-ukai fonts-comic-neue fonts-croscore "
    "fonts-crosextra-carlito fonts-firacode fonts-linuxlibertine fonts-cantarell"
)

_EUROPEAN = ("latin", "cyrillic", "greek")

# Fonts of one design are in one split: Arimo is Liberation Sans, Carlito is Lato.
# file names; scripts; index in the collection
_TABLE: dict[Split, tuple[tuple[str, tuple[str, ...], int], ...]] = {
    "train": (
        ("DejaVuSans.ttf DejaVuSans-Bold.ttf DejaVuSerif.ttf DejaVuSansCondensed-Bold.ttf", _EUROPEAN, 0),
        ("LiberationSans-Regular.ttf LiberationSans-Bold.ttf LiberationSansNarrow-Bold.ttf", _EUROPEAN, 0),
        ("LiberationSerif-Regular.ttf LiberationMono-Bold.ttf Arimo-Bold.ttf Tinos-Bold.ttf", _EUROPEAN, 0),
        ("NotoSans-Regular.ttf NotoSans-Bold.ttf NotoSerif-Bold.ttf FreeSans.ttf", _EUROPEAN, 0),
        ("OpenSans-Regular.ttf OpenSans-Semibold.ttf OpenSans-Bold.ttf", _EUROPEAN, 0),
        ("Lato-Medium.ttf Lato-Bold.ttf Carlito-Regular.ttf ComicNeue-Bold.otf", ("latin",), 0),
        ("NotoSansCJK-Regular.ttc NotoSansCJK-Bold.ttc", ("chinese",), 2),
        ("NotoSansCJK-Regular.ttc NotoSansCJK-Bold.ttc", ("japanese",), 0),
        ("NotoSansCJK-Regular.ttc NotoSansCJK-Bold.ttc", ("korean",), 1),
        ("wqy-zenhei.ttc uming.ttc", ("chinese",), 0),
        ("ipagp.ttf ipag.ttf", ("japanese",), 0),
        ("NanumGothic.ttf NanumGothicBold.ttf UnDotum.ttf UnBatangBold.ttf", ("korean",), 0),
        ("NotoNaskhArabic-Bold.ttf NotoNaskhArabic-Regular.ttf DejaVuSans.ttf KacstBook.ttf", ("arabic",), 0),
        ("Garuda.ttf Waree-Bold.ttf Loma.ttf NotoSansThai-Regular.ttf NotoSansThai-Bold.ttf", ("thai",), 0),
        ("NotoSansDevanagari-Regular.ttf NotoSansDevanagari-Bold.ttf", ("devanagari",), 0),
        ("Lohit-Devanagari.ttf", ("devanagari",), 0),
    ),
    "validation": (
        ("Cantarell-Regular.otf Cantarell-Bold.otf", ("latin",), 0),
        ("LinBiolinum_R.otf LinBiolinum_RB.otf", _EUROPEAN, 0),
        ("ukai.ttc", ("chinese",), 0),
        ("ipamp.ttf ipam.ttf", ("japanese",), 0),
        ("NanumMyeongjo.ttf NanumMyeongjoBold.ttf", ("korean",), 0),
        ("NotoKufiArabic-Regular.ttf", ("arabic",), 0),
        ("Norasi.ttf Norasi-Bold.ttf", ("thai",), 0),
        ("FreeSerif.ttf FreeSerifBold.ttf", ("devanagari",), 0),
    ),
    "test": (
        ("Roboto-Regular.ttf Roboto-Bold.ttf RobotoCondensed-Regular.ttf", _EUROPEAN, 0),
        ("FiraCode-Medium.ttf LinLibertine_R.otf LinLibertine_RB.otf", _EUROPEAN, 0),
        ("wqy-microhei.ttc", ("chinese",), 0),
        ("NotoSerifCJK-Bold.ttc", ("chinese",), 2),
        ("NotoSerifCJK-Regular.ttc NotoSerifCJK-Bold.ttc", ("japanese",), 0),
        ("NanumSquareB.ttf NanumSquareR.ttf", ("korean",), 0),
        ("Amiri-Regular.ttf Amiri-Bold.ttf NotoSansArabic-Bold.ttf", ("arabic",), 0),
        ("Umpush.ttf NotoSerifThai-Bold.ttf", ("thai",), 0),
        ("NotoSerifDevanagari-Regular.ttf NotoSerifDevanagari-Bold.ttf", ("devanagari",), 0),
    ),
}


@dataclass(frozen=True)
class FontFace:
    """A font file, found by name in :data:`FONT_FOLDERS`, with its scripts and its index in a collection."""

    file: str
    script: str
    index: int = 0

    def load(self, size: float) -> ImageFont.FreeTypeFont:
        """Load the face at ``size`` pixels. Raises ``FileNotFoundError`` with the packages to install."""
        path = _installed().get(self.file)
        if path is None:
            raise FileNotFoundError(
                f"font {self.file} is not under {os.pathsep.join(map(str, FONT_FOLDERS)) or 'any folder'} "
                f"(CAPTIONACC_FONT_FOLDERS); run: apt-get install {DEBIAN_PACKAGES}"
            )
        return ImageFont.truetype(str(path), size, index=self.index)


@cache
def _installed() -> dict[str, Path]:
    return {
        path.name: path
        for folder in FONT_FOLDERS
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".ttf", ".otf", ".ttc")
    }


def faces(split: Split, script: str) -> tuple[FontFace, ...]:
    """Return the split's faces for a script, in a fixed order."""
    return tuple(
        FontFace(name, script, index)
        for names, scripts, index in _TABLE[split]
        if script in scripts
        for name in names.split()
    )


def missing() -> list[str]:
    """Return the file names of the table that are not installed."""
    wanted = {name for rows in _TABLE.values() for names, _, _ in rows for name in names.split()}
    return sorted(wanted - set(_installed()))
