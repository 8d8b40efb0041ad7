"""Language tags (BCP-47) as settings and rows hold them."""

from collections.abc import Iterable

from langcodes import Language
from langcodes.tag_parser import LanguageTagError

from modal_gpu.errors import ConfigurationError

#: Largest number of languages of one video.
MAX_LANGUAGES = 8


def parse_languages(text: str, what: str = "OCR_LANGUAGE") -> tuple[str, ...]:
    """Return the tags in a list separated by commas or spaces, in their standard form, without repetition.

    Raises :class:`ConfigurationError` for a tag that is not valid, or for too many.
    """
    return normalized(text.replace(",", " ").split(), what)


def normalized(
    tags: Iterable[str], what: str = "OCR_LANGUAGE", limit: int | None = MAX_LANGUAGES
) -> tuple[str, ...]:
    """Return tags in their standard form (``zh-hant`` as ``zh-Hant``); see :func:`parse_languages`."""
    found = dict.fromkeys(_standard(tag, what) for tag in tags)
    if limit is not None and len(found) > limit:
        raise ConfigurationError(f"{what} names {len(found)} languages: give at most {limit}")
    return tuple(found)


def _standard(tag: str, what: str) -> str:
    try:
        language = Language.get(tag)
        is_valid = language.language is not None and language.is_valid()
    except LanguageTagError:
        is_valid = False
    if not is_valid:
        raise ConfigurationError(
            f"{what}: {tag[:40]!r} is not a language tag: give BCP-47 tags such as ko, ru or zh-Hant, "
            "separated by commas"
        )
    return str(language)


def script_of(tag: str) -> str:
    """Return the ISO 15924 script of a language, such as ``Hans`` for ``zh``."""
    return Language.get(tag).maximize().script or "Zyyy"


def base_of(tag: str) -> str:
    """Return a tag's language without script and region: ``sr`` of ``sr-Latn-RS``."""
    return Language.get(tag).language or "und"


def iso_639_3(tag: str) -> str:
    """Return the three-letter code of a tag's language: ``kor`` of ``ko``."""
    return str(Language.get(tag).to_alpha3())
