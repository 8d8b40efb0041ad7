"""Reading of subtitle files that people corrected: SubRip, WebVTT, ASS and SSA."""

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from pathlib import PurePath

import pysubs2
from pysubs2.formats.subrip import SubripFormat
from pysubs2.formats.webvtt import WebVTTFormat

from modal_gpu.captions.substation import unescaped, zone_of_style
from modal_gpu.errors import CaptionAccError

#: The largest file that is read, in bytes; a film's captions have a hundredth of it.
MAX_BYTES = 20_000_000
_FORMATS = {".srt": "srt", ".vtt": "vtt", ".ass": "ass", ".ssa": "ssa"}
_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
#: Their patterns of a time. A line with two is read as a cue's times.
_TIMES: dict[str, re.Pattern[str]] = {"srt": SubripFormat.TIMESTAMP, "vtt": WebVTTFormat.TIMESTAMP}
_TAG = re.compile(r"</?(?:i|b|u|s|font|c|v|ruby|rt|lang)\b[^<>]*>|<\d[\d:.]*>|\{\\[^{}]*\}", re.IGNORECASE)
#: Two line ends before a line of times, without a number or name of the cue.
_UNNAMED = re.compile(r"(\n[ \t]*\n)(?=[^\n]*-->)")


class SubtitleFileError(CaptionAccError):
    """A file that is no subtitle file, or is damaged, empty, or in another encoding."""


@dataclass(frozen=True)
class FileCue:
    """A caption of a file: ``[start, end)`` in milliseconds.

    ``raw`` is its text with any formatting, ``text`` without. ``zone`` is ``None`` if the file does not say
    it.
    """

    start: int
    end: int
    raw: str
    text: str
    zone: int | None = None

    @property
    def has_formatting(self) -> bool:
        """True if formatting was dropped."""
        return self.raw != self.text


def read_subtitles(data: bytes, name: str) -> list[FileCue]:
    """Return the captions of a file, sorted by time.

    Raises :class:`SubtitleFileError`, which names the file.
    """
    if len(data) > MAX_BYTES:
        raise SubtitleFileError(f"{name} is larger than {MAX_BYTES // 1_000_000} MB: it is no subtitle file")
    text = _decoded(data, name)
    if not text.strip():
        raise SubtitleFileError(f"{name} is empty. Nothing was changed.")
    format = _format(text, name)
    if format in _TIMES:
        _check_lines(text, format, name)
        # pysubs2 takes a number before a cue's times for its number, even where it is the former one's text.
        text = _UNNAMED.sub(r"\g<1>0\n", text) + "\n\n0\n"
    try:
        with warnings.catch_warnings():
            # The library warns of margins and colours that it cannot read; they are not used.
            warnings.simplefilter("ignore")
            file = pysubs2.SSAFile.from_string(text, format, keep_html_tags=True)
    except (pysubs2.exceptions.Pysubs2Error, ValueError, IndexError, KeyError) as error:
        raise SubtitleFileError(f"{name} is damaged: {error}. Nothing was changed.") from None
    cues = [cue for event in file if not event.is_comment for cue in _cue(event, format)]
    if not cues:
        raise SubtitleFileError(f"{name} has no captions. Nothing was changed.")
    return sorted(cues, key=lambda cue: (cue.start, cue.end))


def _decoded(data: bytes, name: str) -> str:
    encoding = next((encoding for mark, encoding in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SubtitleFileError(
            f"{name} is not in UTF-8 (line {line}): save it in that encoding. Nothing was changed."
        ) from None
    if "\0" in text:
        raise SubtitleFileError(f"{name} is no subtitle file: it has zero bytes. Nothing was changed.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _format(text: str, name: str) -> str:
    """Return pysubs2's name of the format, from the extension; the content must agree."""
    meant = _FORMATS.get(PurePath(name).suffix.lower())
    try:
        found = pysubs2.formats.autodetect_format(text)
    except pysubs2.exceptions.Pysubs2Error:
        found = "another format"
    if meant is None:
        raise SubtitleFileError(f"{name} is no subtitle file: give one that ends in .srt, .vtt, .ass or .ssa")
    # Some programs write no header into WebVTT, and the two versions of SubStation Alpha into either name.
    alike = {meant, *({"ass", "ssa"} if meant in ("ass", "ssa") else ())}
    if found not in alike:
        raise SubtitleFileError(f"{name} is not in the format of its name: it looks like {found}")
    return found


def _check_lines(text: str, format: str, name: str) -> None:
    """Raise :class:`SubtitleFileError` for a line of times that the library would take for text."""
    for number, line in enumerate(text.split("\n"), 1):
        if re.search(r"\d\s*-->|-->\s*\d", line) and len(_TIMES[format].findall(line)) != 2:
            raise SubtitleFileError(
                f"{name}, line {number}: {line.strip()[:60]!r} are no times. Nothing was changed."
            )


def _cue(event: pysubs2.SSAEvent, format: str) -> Iterator[FileCue]:
    """Yield the caption of an event, unless it has no text."""
    zone: int | None
    if format in ("ass", "ssa"):
        text = raw = unescaped(event.text)
        if r"\p1" in event.text:
            # A drawing.
            return
        zone = zone_of_style(event.style)
        raw = raw if "{" not in event.text.replace(r"\{", "") else f"{{}}{raw}"
    else:
        raw, zone = event.text.replace(r"\N", "\n"), None
        if format == "vtt":
            # A blank line ends a cue; what follows is the next one's name, or a note.
            raw = raw.split("\n\n")[0]
        text = _TAG.sub("", raw)
        if format == "vtt":
            raw, text = unescape(raw), unescape(text)
    if text.strip():
        yield FileCue(event.start, event.end, raw.strip(), text.strip(), zone)
