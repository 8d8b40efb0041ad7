"""Partition keys: ``{name}~{video UUID}``, or the UUID alone.

A person finds a video by the name in its key. The catalogue keeps the key in the video's row, so that a
rename does not change it. Videos of former versions have keys without a name.
"""

import re
import unicodedata

#: Characters of a name in a key.
NAME_LENGTH = 60
#: Between the name and the id.
_MARK = "~"
#: Letters, combining marks and decimal digits.
_USABLE = frozenset({"Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Nd"})


def partition_key_for(display_path: str, video_id: str) -> str:
    """Return the partition key of a new video.

    The name is the last part of ``display_path`` (NFC) with letters, digits and marks of any script, dots,
    dashes and underscores, and one underscore for each run of other characters. It has at most
    :data:`NAME_LENGTH` characters; the end of a longer one, after its last dot, is kept. Dots in a row become
    one, because Dagster forbids three. Without any letter or digit the key is the id alone.
    """
    base = re.split(r"[/\\]", unicodedata.normalize("NFC", display_path))[-1]
    name = "".join(character if _is_usable(character) else " " for character in base)
    name = re.sub(r"_*\.[_.]*", ".", re.sub(r"\s+", "_", name.strip())).strip("._-")
    if not any(character.isalnum() for character in name):
        return video_id
    return f"{_shortened(name)}{_MARK}{video_id}"


def video_id_of(partition_key: str) -> str:
    """Return the id in a partition key, with or without a name."""
    return partition_key.rpartition(_MARK)[2]


def name_of(partition_key: str) -> str:
    """Return the name in a partition key, or the id if there is no name."""
    return partition_key.rpartition(_MARK)[0] or partition_key


def _is_usable(character: str) -> bool:
    return character in ".-_" or unicodedata.category(character) in _USABLE


def _shortened(name: str) -> str:
    if len(name) <= NAME_LENGTH:
        return name
    stem, dot, ending = name.rpartition(".")
    ending = dot + ending if stem and len(ending) <= 8 else ""
    return name[: NAME_LENGTH - len(ending)].rstrip("._-") + ending
