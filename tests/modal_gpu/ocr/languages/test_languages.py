"""Language tags, letters of languages, and the model that the registry has for each."""

import pytest

from modal_gpu.errors import ConfigurationError
from modal_gpu.ocr.languages.letters import coverage, exemplars, letters_of
from modal_gpu.ocr.languages.reading import logical_order
from modal_gpu.ocr.languages.registry import UNREAD, installed_registry, wheel_coverage
from modal_gpu.ocr.languages.tags import normalized, parse_languages
from modal_gpu.ocr.rapid import model_dictionary
from modal_gpu.ocr.tesseract_packs import pack_of


def test_tags_are_normalized_and_each_is_kept_once():
    assert parse_languages("KO, zh-hant en") == ("ko", "zh-Hant", "en")
    assert parse_languages("") == () and normalized(["ko", "KO"]) == ("ko",)


@pytest.mark.parametrize("tag", ["english", "xx", "k", "ko_KR!", "und", "../ko"])
def test_what_is_no_language_is_refused(tag):
    with pytest.raises(ConfigurationError, match=r"OCR_LANGUAGE: .* is not a language tag"):
        parse_languages(f"en,{tag}")


def test_more_languages_than_a_video_has_are_refused():
    with pytest.raises(ConfigurationError, match="at most 8"):
        parse_languages("en de fr it es pt nl sv da")


def test_letters_come_from_cldr_in_the_script_of_the_tag():
    assert letters_of("ru") == set("абвгдежзийклмнопрстуфхцчшщъыьэюяё")
    assert "đ" in letters_of("sr-Latn") and "ђ" in letters_of("sr")
    assert len(letters_of("ko")) == 11_172 and letters_of("qaa") == set()
    assert not any("\u064b" <= letter <= "\u0652" for letter in letters_of("ar"))  # optional vowel signs


def test_a_language_is_covered_only_with_all_its_letters_in_both_cases():
    german = set("abcdefghijklmnopqrstuvwxyzäöüß") | set("ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÜ")
    assert coverage("de", german).is_full
    partly = coverage("de", german - {"Ü"})
    assert partly.missing == {"ü"} and partly.describe() == "29 of 30 letters of de, not ü"
    assert not coverage("fr", german).is_full and not coverage("qaa", german).is_full


def test_the_wheel_is_claimed_for_no_language_whose_letters_it_lacks():
    """The dictionary is the file's own; the registry's list of languages promises more."""
    dictionary = model_dictionary()
    assert dictionary >= UNREAD, "letters that are not in the dictionary need no measurement"
    for tag in (
        "en",
        "es",
        "fr",
        "de",
        "it",
        "pt",
        "nl",
        "sv",
        "fi",
        "da",
        "id",
        "ca",
        "pl",
        "hu",
        "ro",
        "zh",
        "zh-Hant",
        "ja",
    ):
        assert installed_registry().model_for(tag) is None
        assert coverage(tag, dictionary).is_full, tag
    for tag in ("vi", "cs", "sk", "tr"):
        assert not wheel_coverage(tag).is_full
        assert installed_registry().model_for(tag).key == "latin_PP-OCRv5_rec_mobile"
    assert not coverage("el", dictionary).is_full  # Greek letters, but without accents


@pytest.mark.parametrize(
    ("tag", "key"),
    [
        ("ko", "korean"), ("ru", "eslav"), ("uk", "eslav"), ("bg", "cyrillic"), ("sr", "cyrillic"),
        ("lt", "latin"), ("ar", "arabic"), ("fa", "arabic"), ("hi", "devanagari"), ("mr", "devanagari"),
        ("th", "th"), ("el", "el"), ("ta", "ta"), ("te", "te"), ("ka", "ka"), ("vi", "latin"),
    ],
)  # fmt: skip
def test_each_script_has_a_model_of_the_registry(tag, key):
    model = installed_registry().model_for(tag)
    assert model.key.startswith(f"{key}_PP-OCRv") and len(model.sha256) == 64
    assert model.file_name == f"{model.key}.onnx"


HELLO, WORLD = "שלום", "عالم"
BACKWARDS = {word: word[::-1] for word in (HELLO, WORLD)}


@pytest.mark.parametrize(
    ("visual", "written"),
    [
        (BACKWARDS[HELLO], HELLO),
        (f"{BACKWARDS[HELLO]} Oslo {BACKWARDS[WORLD]} 12", f"12 {WORLD} Oslo {HELLO}"),
        (f".({BACKWARDS[WORLD]}) {BACKWARDS[HELLO]}", f"{HELLO} ({WORLD})."),
        (f"Marta: {HELLO}", f"Marta: {HELLO}"),  # mostly Latin letters
        ("12:30", "12:30"),
    ],
)
def test_text_from_right_to_left_comes_in_the_order_in_which_it_is_written(visual, written):
    assert logical_order(visual) == written


@pytest.mark.parametrize("tag", ["he", "bn", "hy", "am"])
def test_a_script_without_a_model_says_what_reads_it(tag):
    with pytest.raises(ConfigurationError, match=rf"no model that reads {tag}.*OCR_ENGINE=tesseract"):
        installed_registry().model_for(tag)


@pytest.mark.parametrize(
    ("tag", "pack"),
    [
        ("ko", "kor"), ("ru", "rus"), ("ar", "ara"), ("hi", "hin"), ("th", "tha"), ("vi", "vie"),
        ("he", "heb"), ("zh", "chi_sim"), ("zh-Hant", "chi_tra"), ("zh-TW", "chi_tra"),
        ("sr-Latn", "srp_latn"), ("sr", "srp"), ("de", "deu"), ("nb", "nor"), ("ja", "jpn"),
        ("fa", "fas"), ("el", "ell"),
    ],
)  # fmt: skip
def test_packs_have_tesseracts_own_names(tag, pack):
    assert pack_of(tag) == pack


def test_the_table_has_the_languages_of_many_people():
    assert len(exemplars()) > 300 and {"en", "zh", "hi", "ar", "sw", "yue", "am", "my"} <= exemplars().keys()
