"""Damage to media files: boxes, elements, packets and fields, and bytes of unknown meaning."""

import struct
from collections.abc import Callable, Iterator
from random import Random

from tests.fuzz.media_files import KINDS, media_file

#: Values on which arithmetic tends to fail, as signed numbers.
_VALUES = (
    0, 1, 2, -1, -2, 127, 128, 255, 256, 1000, 0x7FFF, 0x8000, 0xFFFF, 90_000, 0x10000, 0xFFFFFF,
    0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**32, 2**33 - 1, 2**40, 2**62, 2**63 - 1, -(2**31), -(2**63),
)  # fmt: skip
_MP4_PARENTS = {
    b"moov",
    b"trak",
    b"mdia",
    b"minf",
    b"stbl",
    b"edts",
    b"moof",
    b"traf",
    b"mvex",
    b"dinf",
    b"udta",
}
_EBML_PARENTS = {
    0x18538067,
    0x1654AE6B,
    0xAE,
    0xE0,
    0x1549A966,
    0x1F43B675,
    0xA0,
    0x1C53BB6B,
    0xBB,
    0xB7,
    0x1254C367,
}
_TS_PACKET = 188

Span = tuple[int, int, int]
Mutate = Callable[[bytearray, Random], None]


def damaged_media(random: Random) -> tuple[str, bytes]:
    """Return the name of a kind, and a file of it after one to four changes."""
    name = random.choice(list(KINDS))
    data = bytearray(media_file(name))
    fitting = [*_ANYWHERE, *_STRUCTURED.get(KINDS[name].container, ()) * 3]
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 4))):
        if data:
            random.choice(fitting)(data, random)
    return name, bytes(data)


# For bytes of unknown meaning.


def _flip_bits(data: bytearray, random: Random) -> None:
    for _ in range(random.choice((1, 1, 4, 32))):
        data[_place(data, random)] ^= 1 << random.randrange(8)


def _set_number(data: bytearray, random: Random) -> None:
    _put(data, _place(data, random), random.choice((1, 2, 4, 8)), random)


def _cut(data: bytearray, random: Random) -> None:
    del data[random.randrange(len(data)) :]


def _cut_beginning(data: bytearray, random: Random) -> None:
    del data[: random.randrange(len(data))]


def _drop_block(data: bytearray, random: Random) -> None:
    start = _place(data, random)
    del data[start : start + random.choice((1, 16, 188, 512, 4096))]


def _double_block(data: bytearray, random: Random) -> None:
    start, size = _place(data, random), random.choice((1, 16, 188, 512, 4096))
    data[start:start] = data[start : start + size]


def _zero_block(data: bytearray, random: Random) -> None:
    start = _place(data, random)
    size = min(random.choice((4, 16, 188, 1024)), len(data) - start)
    data[start : start + size] = bytes([random.choice((0, 255))]) * size


def _join(data: bytearray, random: Random) -> None:
    """Join two recordings in one file, the second possibly of another kind."""
    data += bytes(data) if random.random() < 0.5 else media_file(random.choice(list(KINDS)))


def _splice(data: bytearray, random: Random) -> None:
    other = media_file(random.choice(list(KINDS)))
    data[_place(data, random) :] = other[random.randrange(len(other)) :]


# MP4 and MOV.


def _mp4_boxes(data: bytearray, start: int = 0, end: int | None = None) -> Iterator[Span]:
    """Return (start of the box, start of its content, end) of each box."""
    end = len(data) if end is None else end
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        stop = min(start + size, end) if size >= 8 else end
        yield start, start + 8, stop
        if kind in _MP4_PARENTS:
            yield from _mp4_boxes(data, start + 8, stop)
        start = stop


def _mp4_size(data: bytearray, random: Random) -> None:
    _put(data, _some(_mp4_boxes(data), random)[0], 4, random)


def _mp4_type(data: bytearray, random: Random) -> None:
    start = _some(_mp4_boxes(data), random)[0]
    data[start + 4 : start + 8] = random.choice((b"free", b"zzzz", b"moov", b"\0\0\0\0"))


def _mp4_field(data: bytearray, random: Random) -> None:
    _, start, end = _some(
        (box for box in _mp4_boxes(data) if data[box[0] + 4 : box[0] + 8] != b"mdat"), random
    )
    if end - start >= 4:
        _put(data, start + random.randrange((end - start) // 4) * 4, random.choice((2, 4, 8)), random)


def _codec_tag(data: bytearray, random: Random) -> None:
    for tag in (b"avc1", b"hvc1", b"hev1", b"mp4v", b"jpeg", b"s263", b"avcC", b"hvcC", b"esds"):
        at = data.find(tag)
        if at >= 0:
            data[at : at + 4] = random.choice((b"zzzz", b"avc1", b"mp4v", b"hvc1", b"av01", b"tmcd"))
            return


# Matroska and WebM.


def _ebml_elements(data: bytearray, start: int = 0, end: int | None = None) -> Iterator[Span]:
    """Return (start of the element, start of its content, end) of each element."""
    end = len(data) if end is None else end
    while start + 2 <= end:
        id_length = 9 - data[start].bit_length()
        at = start + id_length
        if id_length > 4 or at >= end:
            return
        size_length = 9 - data[at].bit_length()
        if size_length > 8:
            return
        size = int.from_bytes(data[at : at + size_length], "big") & (1 << 7 * size_length) - 1
        content = at + size_length
        stop = end if size == (1 << 7 * size_length) - 1 else min(end, content + size)
        yield start, content, stop
        if int.from_bytes(data[start:at], "big") in _EBML_PARENTS:
            yield from _ebml_elements(data, content, stop)
        start = max(stop, start + 1)


def _ebml_value(data: bytearray, random: Random) -> None:
    _, start, end = _some((span for span in _ebml_elements(data) if span[2] - span[1] <= 8), random)
    if end > start:
        data[start:end] = (random.choice(_VALUES) % 2 ** (8 * (end - start))).to_bytes(end - start, "big")


def _ebml_head(data: bytearray, random: Random) -> None:
    start, content, _ = _some(_ebml_elements(data), random)
    data[random.randrange(start, max(content, start + 1))] = random.randrange(256)


# Transport and program streams.


def _ts_header(data: bytearray, random: Random) -> None:
    start = _ts_place(data, random)
    data[min(len(data) - 1, start + random.randrange(5))] = random.randrange(256)


def _ts_move(data: bytearray, random: Random) -> None:
    start, to = _ts_place(data, random), _ts_place(data, random)
    packet = data[start : start + _TS_PACKET]
    if random.random() < 0.5:
        del data[start : start + _TS_PACKET]
    data[to:to] = packet


def _ts_stray(data: bytearray, random: Random) -> None:
    """Move a packet to a stream that no table names."""
    start = _ts_place(data, random)
    if start + 3 <= len(data):
        header = struct.unpack_from(">H", data, start + 1)[0]
        struct.pack_into(">H", data, start + 1, header & 0xE000 | random.randrange(0x2000))


def _pes_time(data: bytearray, random: Random) -> None:
    starts = [at for at in _found(data, b"\0\0\1\xe0") if at + 14 <= len(data)]
    if starts:
        at = random.choice(starts) + 9
        value = random.choice(_VALUES) % 2**33
        data[at : at + 5] = bytes(
            (
                0x31 | value >> 29 & 0xE,
                value >> 22 & 0xFF,
                value >> 14 & 0xFE | 1,
                value >> 7 & 0xFF,
                value << 1 & 0xFE | 1,
            )
        )


def _place(data: bytearray, random: Random) -> int:
    """Choose a position, half of the time near the beginning, where headers are."""
    return random.randrange(len(data) if random.random() < 0.5 else min(len(data), 1024))


def _ts_place(data: bytearray, random: Random) -> int:
    return random.randrange(max(1, len(data) // _TS_PACKET)) * _TS_PACKET


def _found(data: bytearray, what: bytes) -> Iterator[int]:
    at = data.find(what)
    while at >= 0:
        yield at
        at = data.find(what, at + 1)


def _put(data: bytearray, at: int, size: int, random: Random) -> None:
    """Write a number that arithmetic fails on, or one a little off, in either byte order."""
    field = data[at : at + size]
    order = random.choice(("big", "big", "little"))
    old = int.from_bytes(field, order)
    new = random.choice(
        (random.choice(_VALUES), old + random.choice((-1, 1)), old * 2, random.getrandbits(64))
    )
    data[at : at + len(field)] = (new % 2 ** (8 * len(field))).to_bytes(len(field), order)


def _some(spans: Iterator[Span], random: Random) -> Span:
    found = list(spans)
    return random.choice(found) if found else (0, 0, 0)


_ANYWHERE: tuple[Mutate, ...] = (
    _flip_bits, _set_number, _set_number, _cut, _cut_beginning, _drop_block, _double_block, _zero_block,
    _join, _splice,
)  # fmt: skip
_MP4: tuple[Mutate, ...] = (_mp4_size, _mp4_type, _mp4_field, _mp4_field, _mp4_field, _codec_tag)
_EBML: tuple[Mutate, ...] = (_ebml_value, _ebml_value, _ebml_head)
_STRUCTURED: dict[str, tuple[Mutate, ...]] = {
    "mp4": _MP4, "mov": _MP4, "3gp": _MP4, "matroska": _EBML, "webm": _EBML,
    "mpegts": (_ts_header, _ts_move, _ts_stray, _pes_time), "vob": (_pes_time,),
}  # fmt: skip
