"""Caption texts in many scripts, generated from a seed. A text's hash assigns it to one split."""

import zlib
from functools import cache

import numpy as np

from training.fonts import Split

Random = np.random.Generator

SCRIPTS = (
    "latin",
    "cyrillic",
    "greek",
    "chinese",
    "japanese",
    "korean",
    "arabic",
    "thai",
    "devanagari",
)
#: Relative frequencies: most of the world's captions are Latin.
_WEIGHTS = np.array([8, 2, 1, 4, 2, 2, 1.5, 1, 1])
#: Scripts without spaces between words.
_UNSPACED = ("chinese", "japanese", "thai")

_WORDS = (
    "the of and to in is you that it he was for on are as with his they at be this have from or one had "
    "by but not what all were we when your can said there use an each which she do how their if will up "
    "other about out many then them these so some her would make like him into time has look two more "
    "write go see number no way could people my than first water been call who oil its now find long "
    "down day did get come made may part over new sound take only little work know place year live me "
    "back give most very after thing our just name good sentence man think say great where help through "
    "much before line right too mean old any same tell boy follow came want show also around form three "
    "small set put end does another well large must big even such because turn here why ask went men "
    "read need land different home us move try kind hand picture again change off play spell air away "
    "animal house point page letter mother answer found study still learn should world never tomorrow "
    "station office window believe Anna really somebody coffee harbour minutes street police captain "
    "doctor listen sorry please quiet Mr. Mrs."
)
_ENGLISH = _WORDS.split()

_ALPHABETS = {
    "cyrillic": ("бвгдзклмнпрстфхцчшж", "аеиоуыяюё"),
    "greek": ("βγδζθκλμνξπρστφχψ", "αεηιουωάέίό"),
    "latin": ("bcdfghjklmnpqrstvwxz", "aeiouyäöüéèçñ"),
}
_ARABIC = "ابتثجحخدذرزسشصضطظعغفقكلمنهوي"
_THAI_CONSONANTS = "กขคงจชซดตถทนบปผพฟมยรลวสหอ"
_THAI_VOWELS = ("า", "ิ", "ี", "ุ", "ู", "ะ", "ั", "่า", "้า", "ือ")
_DEVANAGARI = "कखगघचछजझटठडढतथदधनपफबभमयरलवशसह"
_MATRAS = ("", "ा", "ि", "ी", "ु", "ू", "े", "ै", "ो", "ौ", "ं")
_KANA = (
    "あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよらり"
    "るれろわをんがぎぐげござじずぜぞだでどばびぶべぼ"
)


@cache
def _hanzi() -> str:
    """Return the 3,755 common characters of GB 2312, level 1."""
    rows = (bytes([lead, trail]) for lead in range(0xB0, 0xD8) for trail in range(0xA1, 0xFF))
    return "".join(row.decode("gb2312", "ignore") for row in rows)


@cache
def _kanji() -> str:
    """Return the 2,965 characters of JIS X 0208, level 1."""
    rows = (bytes([lead, trail]) for lead in range(0xB0, 0xD0) for trail in range(0xA1, 0xFF))
    return "".join(row.decode("euc_jp", "ignore") for row in rows)


@cache
def _hangul() -> str:
    rows = (bytes([lead, trail]) for lead in range(0xB0, 0xC9) for trail in range(0xA1, 0xFF))
    return "".join(row.decode("euc_kr", "ignore") for row in rows)


def split_of(text: str) -> Split:
    """Return the split that a text belongs to: 80 % train, 10 % validation, 10 % test."""
    part = zlib.crc32(text.encode()) % 10
    return "train" if part < 8 else "validation" if part == 8 else "test"


def random_script(rng: Random) -> str:
    return str(rng.choice(SCRIPTS, p=_WEIGHTS / _WEIGHTS.sum()))


def _pick(rng: Random, items) -> str:
    return items[int(rng.integers(len(items)))]


def word(rng: Random, script: str) -> str:
    """Return a word, or a string that looks like one."""
    if script == "latin" and rng.random() < 0.75:
        return _pick(rng, _ENGLISH)
    if script in _ALPHABETS:
        consonants, vowels = _ALPHABETS[script]
        syllables = int(rng.integers(1, 4))
        letters = "".join(_pick(rng, consonants) + _pick(rng, vowels) for _ in range(syllables))
        return letters + (_pick(rng, consonants) if rng.random() < 0.5 else "")
    if script == "chinese":
        return "".join(_pick(rng, _hanzi()) for _ in range(int(rng.integers(1, 4))))
    if script == "japanese":
        kanji = "".join(_pick(rng, _kanji()) for _ in range(int(rng.integers(0, 3))))
        return kanji + "".join(_pick(rng, _KANA) for _ in range(int(rng.integers(1, 4))))
    if script == "korean":
        return "".join(_pick(rng, _hangul()) for _ in range(int(rng.integers(1, 5))))
    if script == "arabic":
        return "".join(_pick(rng, _ARABIC) for _ in range(int(rng.integers(2, 7))))
    if script == "thai":
        syllables = int(rng.integers(1, 4))
        return "".join(_pick(rng, _THAI_CONSONANTS) + _pick(rng, _THAI_VOWELS) for _ in range(syllables))
    syllables = int(rng.integers(1, 4))
    return "".join(_pick(rng, _DEVANAGARI) + _pick(rng, _MATRAS) for _ in range(syllables))


def line(rng: Random, script: str, length: int) -> str:
    """Return a line of about ``length`` characters, sometimes with a number or a punctuation mark."""
    words: list[str] = []
    while sum(map(len, words)) + len(words) < length:
        words.append(str(rng.integers(1, 2000)) if rng.random() < 0.05 else word(rng, script))
    text = ("" if script in _UNSPACED else " ").join(words)
    if script in _ALPHABETS and rng.random() < 0.85:
        text = text[0].upper() + text[1:]
    if script == "latin" and rng.random() < 0.08:
        text = text.upper()
    endings = {"chinese": ("", "。", "！", "？"), "japanese": ("", "。", "？"), "devanagari": ("", "।")}
    return text + _pick(rng, endings.get(script, ("", ".", ".", "?", "!", "…", ",")))


def text(rng: Random, split: Split, script: str, lines: int = 1) -> str:
    """Return a caption of ``lines`` lines that belongs to the split."""
    widest = {"chinese": 16, "japanese": 16, "korean": 18}.get(script, 36)
    while True:
        shortest = 2 if lines == 1 else 6
        made = "\n".join(line(rng, script, int(rng.integers(shortest, widest + 1))) for _ in range(lines))
        if split_of(made) == split:
            return made


def one_character_changed(rng: Random, split: Split, script: str, given: str) -> str:
    """Replace one character of ``given`` by another of its kind, within the same split."""
    places = [i for i, c in enumerate(given) if c.isalnum()]
    pool = {
        "chinese": _hanzi(),
        "japanese": _KANA + _kanji(),
        "korean": _hangul(),
        "arabic": _ARABIC,
        "thai": _THAI_CONSONANTS,
        "devanagari": _DEVANAGARI,
    }
    while True:
        place = places[int(rng.integers(len(places)))]
        old = given[place]
        if old.isdigit():
            new = _pick(rng, "0123456789")
        elif script in _ALPHABETS:
            new = _pick(rng, "".join(_ALPHABETS[script]))
            new = new.upper() if old.isupper() else new
        else:
            new = _pick(rng, pool[script])
        changed = given[:place] + new + given[place + 1 :]
        if new != old and split_of(changed) == split:
            return changed


def numbered(rng: Random, split: Split, script: str) -> list[str]:
    """Return a series of captions that differ only in their number, such as "Step 1 of 9"."""
    latin = ("Step {}", "Step {} of 12", "Room {}", "Chapter {}", "{} minutes left", "Day {}:", "No. {}")
    pattern = (
        _pick(rng, latin) if script == "latin" else word(rng, script) + _pick(rng, ("{}", " {}", " {}:"))
    )
    tail = "" if rng.random() < 0.5 else " " + line(rng, script, int(rng.integers(4, 18)))
    first = int(rng.choice([1, 1, 8, 97, 210, 880]))
    series = [pattern.format(first + k) + tail for k in range(200)]
    return [made for made in series if split_of(made) == split]
