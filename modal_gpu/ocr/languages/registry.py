"""RapidOCR's own registry of models: which recognition model reads a language, its address and its hash.

The registry is the file ``default_models.yaml`` of the installed package, read without importing it.
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from modal_gpu.errors import ConfigurationError
from modal_gpu.ocr.languages.letters import Coverage, coverage, letters_of
from modal_gpu.ocr.languages.tags import base_of, script_of

#: Letters that are in the dictionary of the wheel's recognition model, but that it does not read: at most 2
#: of 8 in rendered words (`python -m benchmarks.letters`, 2026-11-27). So it reads Polish, Hungarian and
#: Romanian beside the languages of western Europe, and not Czech, Slovak or Turkish.
UNREAD = frozenset("þÿĉďĕėĝĥİıĵĺľŋŏŕŗŝťŧũŭůŵŷƒƙƛơưƴǀǁǂǃǎǖǘǜǝǥǧǩǫǯǵǹȟɓɔɖɗɛɣɨɩɪɬɲʉʊʋʒʔʕ")
#: The Latin letters in that dictionary: Unicode's blocks from Basic Latin to IPA Extensions.
_WHEEL_LATIN = frozenset(map(chr, range(0x21, 0x2B0))) - UNREAD
#: Registry languages by script, in the order in which models of PP-OCRv5 and, without one, PP-OCRv4 are used.
_BY_SCRIPT = {
    "Kore": "korean",
    "Hang": "korean",
    "Cyrl": "cyrillic",
    "Arab": "arabic",
    "Deva": "devanagari",
    "Thai": "th",
    "Grek": "el",
    "Taml": "ta",
    "Telu": "te",
    "Geor": "ka",
    "Latn": "latin",
}
#: Names in the registry that are no language tags, and those of other scripts or of a second name.
_TAGS = {"rs_latin": "sr-Latn", "tl": "fil"}
_NOT_LATIN = ("ch", "chinese_cht", "japan", "french", "german")
_WHEEL_SCRIPTS = ("Hans", "Hant", "Jpan", "Hira", "Kana")
#: East Slavic languages have a model of their own.
_EAST_SLAVIC = ("ru", "uk", "be")
_VERSIONS = ("PP-OCRv5", "PP-OCRv4")


@dataclass(frozen=True)
class RegistryModel:
    """A recognition model: its registry key, its file's address and the file's SHA-256."""

    key: str
    url: str
    sha256: str

    @property
    def file_name(self) -> str:
        """The name of the model's file."""
        return Path(urlsplit(self.url).path).name


class Registry:
    """The models of a ``default_models.yaml``."""

    def __init__(self, content: dict[str, Any]) -> None:
        self._routes: dict[str, Any] = content["model_routes"]
        self._files: dict[str, Any] = content["onnxruntime"]

    @classmethod
    def read(cls, path: Path) -> "Registry":
        """Read a registry file. Raises :class:`ConfigurationError` for one in another form."""
        try:
            return cls(yaml.safe_load(path.read_text(encoding="utf-8")))
        except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
            raise ConfigurationError(f"{path} is not a registry of RapidOCR's models: {error}") from None

    def model_for(self, tag: str) -> RegistryModel | None:
        """Return the model that reads a language; ``None`` if the wheel's model does.

        Raises :class:`ConfigurationError` if no model of the registry reads it.
        """
        script, base = script_of(tag), base_of(tag)
        if script in _WHEEL_SCRIPTS or (script == "Latn" and wheel_coverage(tag).is_full):
            return None
        wanted = "eslav" if base in _EAST_SLAVIC and script == "Cyrl" else _BY_SCRIPT.get(script)
        for version in _VERSIONS:
            if wanted and (model := self._mobile(version, wanted)):
                return model
        raise ConfigurationError(
            f"RapidOCR has no model that reads {tag} (script {script}): set OCR_ENGINE=tesseract with its "
            "language pack, or OCR_ENGINE=google_vision"
        )

    def listed_for_wheel(self) -> tuple[str, ...]:
        """Return the languages in Latin letters that are listed for the wheel's model."""
        routes = self._routes["PP-OCRv6"]["rec"]["small"]
        names = dict.fromkeys(str(name) for route in routes for name in route["supported_langs"])
        tags = (_TAGS.get(name, name) for name in names if name not in _NOT_LATIN)
        return tuple(tag for tag in tags if letters_of(tag))

    def _mobile(self, version: str, name: str) -> RegistryModel | None:
        for route in self._routes[version]["rec"]["mobile"]:
            if name in route["supported_langs"]:
                entry = self._files[version]["rec"][route["model_key"]]
                return RegistryModel(route["model_key"], entry["model_dir"], entry["SHA256"])
        return None


@lru_cache(maxsize=1)
def installed_registry() -> Registry:
    """Return the registry of the installed RapidOCR."""
    package = importlib.util.find_spec("rapidocr")
    if package is None or not package.submodule_search_locations:
        raise ConfigurationError("the package rapidocr is not installed")
    return Registry.read(Path(next(iter(package.submodule_search_locations))) / "default_models.yaml")


@lru_cache(maxsize=1)
def latin_languages() -> tuple[str, ...]:
    """Return the languages in Latin letters that the registry lists for the wheel's model, as tags."""
    return installed_registry().listed_for_wheel()


def wheel_coverage(tag: str) -> Coverage:
    """Return which letters of a language in Latin script the wheel's model reads."""
    return coverage(tag, _WHEEL_LATIN)


def needed_models(languages: Sequence[str]) -> dict[str, RegistryModel | None]:
    """Return the model of each language; ``None`` for the wheel's.

    Raises :class:`ConfigurationError` for a language that no model reads.
    """
    return {tag: installed_registry().model_for(tag) for tag in languages}
