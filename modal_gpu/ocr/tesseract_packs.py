"""Tesseract's language packs: their names, and those that this system has. Imports no engine."""

import logging
import subprocess
from collections.abc import Sequence

from modal_gpu.errors import ConfigurationError
from modal_gpu.ocr.languages.tags import base_of, iso_639_3, script_of

logger = logging.getLogger(__name__)

COMMAND = "tesseract"
#: Seconds of the listing of packs.
_TIMEOUT = 30
#: Tesseract's names of languages that it has in two scripts, by language and script.
_BY_SCRIPT = {
    ("zh", "Hans"): "chi_sim",
    ("zh", "Hant"): "chi_tra",
    ("yue", "Hant"): "chi_tra",
    ("sr", "Latn"): "srp_latn",
    ("az", "Cyrl"): "aze_cyrl",
    ("uz", "Cyrl"): "uzb_cyrl",
}
#: And those that it names otherwise than ISO 639-3.
_OTHER_NAMES = {"nb": "nor", "nn": "nor", "no": "nor", "ku": "kmr"}


def pack_of(tag: str) -> str:
    """Return the name of the language pack for a language tag: ``kor`` for ``ko``."""
    base = base_of(tag)
    return _BY_SCRIPT.get((base, script_of(tag))) or _OTHER_NAMES.get(base) or iso_639_3(tag)


def installed_packs() -> frozenset[str]:
    """Return the language packs that are installed now; empty without Tesseract, or if it fails."""
    try:
        listed = subprocess.run(
            [COMMAND, "--list-langs"], capture_output=True, text=True, timeout=_TIMEOUT, check=True
        )
    except FileNotFoundError:
        return frozenset()
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("Tesseract cannot list its language packs: %s", error)
        return frozenset()
    return frozenset(listed.stdout.split("\n")[1:]) - {""}


def checked_packs(languages: Sequence[str]) -> tuple[str, ...]:
    """Return the packs of languages. Raises :class:`ConfigurationError` with what is not installed or set."""
    if not languages:
        raise ConfigurationError(
            "OCR_ENGINE=tesseract reads no text without OCR_LANGUAGE: set it, such as ko,en"
        )
    installed = installed_packs()
    if not installed:
        raise ConfigurationError(
            "Tesseract is not installed: install it with its language packs (Debian: tesseract-ocr and "
            f"{', '.join(map(debian_package, languages))})"
        )
    missing = [tag for tag in languages if pack_of(tag) not in installed]
    if missing:
        raise ConfigurationError(
            f"Tesseract has no language pack for {', '.join(missing)}: install "
            f"{', '.join(map(debian_package, missing))} (Debian's names)"
        )
    return tuple(dict.fromkeys(map(pack_of, languages)))


def debian_package(tag: str) -> str:
    """Return the name of Debian's package with a language's pack."""
    return f"tesseract-ocr-{pack_of(tag).replace('_', '-')}"
