"""The index space of a video's frames, and the chunks of cropped frames.

Index ``i`` is the frame shown at ``i / 10`` seconds after the first presented frame: the last
frame whose presentation time is at or before that time. Ranges are half-open ``[start, end)``.

Cropped frames are stored on three exclusive levels, so that a reader can load a coarse view
first and no frame is stored twice. A chunk holds 32 members of its level and is named after the
index of its first member.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

#: Indices per second.
INDEX_RATE = 10
#: Members of a full chunk; the last chunk of a level may hold fewer.
CHUNK_MEMBERS = 32
#: Modulo levels, coarse to fine.
LEVELS = (16, 4, 1)
#: At multiples of this index every level starts a new chunk (lcm of 512, 512 and 128).
SEGMENT_ALIGNMENT = 512

FULL_FRAME_MAX_STEP = 100  # 0.1 Hz
FULL_FRAME_MIN_STEP = 10  # at most one per second
FULL_FRAME_TARGET_COUNT = 30


def index_time(index: int) -> Fraction:
    """Return an index's time, in seconds from the first frame."""
    return Fraction(index, INDEX_RATE)


def first_index_from(seconds: Fraction) -> int:
    """Return the first index whose time is at or after ``seconds``."""
    # Integers take a fifth of the time of a product of fractions: this is computed for each frame.
    return -(-seconds.numerator * INDEX_RATE // seconds.denominator)


def frame_count(duration: Fraction | float) -> int:
    """Return the number of indices in a video of ``duration`` seconds: those with ``index_time < duration``.

    At least 1, since a video shows its first frame at time zero. Raises ``ValueError`` if negative.
    """
    if duration < 0:
        raise ValueError(f"duration {duration} s is negative")
    return max(1, math.ceil(Fraction(duration) * INDEX_RATE))


def full_frame_indices(count: int) -> range:
    """Return the indices of the full frames of a video of ``count`` indices.

    One every 10 s. Videos under 5 minutes have more, so that layout analysis has about 30 frames, but at
    most one per second. Index 0 is always included.
    """
    _check_video(count)
    step = min(FULL_FRAME_MAX_STEP, max(FULL_FRAME_MIN_STEP, count // FULL_FRAME_TARGET_COUNT))
    return range(0, count, step)


def indices_at_rate(count: int, rate: Fraction) -> Sequence[int]:
    """Return the indices nearest to every ``1 / rate`` seconds of a video of ``count`` indices, from 0 on.

    ``rate`` is in Hz, at most 1, so no index comes twice.
    """
    _check_video(count)
    step = Fraction(INDEX_RATE) / rate
    if step.denominator == 1:
        return range(0, count, step.numerator)
    indices: list[int] = []
    while (index := math.floor(len(indices) * step + Fraction(1, 2))) < count:
        indices.append(index)
    return indices


def _check_video(count: int) -> None:
    if count < 1:
        raise ValueError(f"a video has at least one frame index, not {count}")


def coarse_frame_indices(count: int) -> range:
    """Return the indices of the full frames that are read in any case: every other one, if that is 0.1 Hz.

    The others are read only until the place of the captions is certain.
    """
    indices = full_frame_indices(count)
    return indices[::2] if 2 * indices.step <= FULL_FRAME_MAX_STEP else indices


def level_of(index: int) -> int:
    """Return the level (16, 4 or 1) that stores an index."""
    if index < 0:
        raise ValueError(f"frame index {index} is negative")
    return 16 if index % 16 == 0 else 4 if index % 4 == 0 else 1


def member_index(level: int, ordinal: int) -> int:
    """Return the index of a level's ``ordinal``-th (from 0) member; inverse of :func:`member_ordinal`."""
    if ordinal < 0:
        raise ValueError(f"ordinal {ordinal} is negative")
    if level == 16:
        return 16 * ordinal
    group, place = divmod(ordinal, 3)
    if level == 4:
        return 16 * group + 4 * (place + 1)
    if level == 1:
        return 4 * group + place + 1
    raise ValueError(f"level {level} is not one of {LEVELS}")


def member_ordinal(index: int, step: int = 1) -> int:
    """Return the number of members of its level before an index; only multiples of ``step`` are stored."""
    level = level_of(index)
    if step != 1:
        return member_count(level, index, step)
    if level == 16:
        return index // 16
    if level == 4:
        return 3 * (index // 16) + index % 16 // 4 - 1
    return 3 * (index // 4) + index % 4 - 1


def member_count(level: int, count: int, step: int = 1) -> int:
    """Return the number of the indices ``[0, count)`` that a level stores, of the multiples of ``step``."""
    if count < 0:
        raise ValueError(f"frame count {count} is negative")
    if level not in LEVELS:
        raise ValueError(f"level {level} is not one of {LEVELS}")
    multiples_of_16, multiples_of_4, all_stored = (-(-count // math.lcm(of, step)) for of in LEVELS)
    return {
        16: multiples_of_16,
        4: multiples_of_4 - multiples_of_16,
        1: all_stored - multiples_of_4,
    }[level]


@dataclass(frozen=True, order=True)
class ChunkRef:
    """A chunk's identity: its level and the index of its first member.

    ``step``: only indices that are multiples of it are stored; 1 where frames were cropped at 10 Hz. Raises
    ``ValueError`` if no chunk of that level starts there.
    """

    level: int
    first_index: int
    step: int = 1

    def __post_init__(self) -> None:
        index = self.first_index
        is_member = level_of(index) == self.level and index % self.step == 0
        if not is_member or member_ordinal(index, self.step) % CHUNK_MEMBERS:
            raise ValueError(f"no chunk of level {self.level} starts at frame index {index}")

    def members(self, count: int) -> list[int]:
        """Return the indices stored in this chunk of a video of ``count`` indices, ascending."""
        start = member_ordinal(self.first_index, self.step)
        stop = min(start + CHUNK_MEMBERS, member_count(self.level, count, self.step))
        if self.step == 1:
            return [member_index(self.level, ordinal) for ordinal in range(start, stop)]
        own = (i for i in range(self.first_index, count, self.step) if level_of(i) == self.level)
        return list(itertools.islice(own, max(0, stop - start)))


def segment_starts(count: int, segment_frames: int, parallel: int = 1) -> list[int]:
    """Return the first indices of a video's segments, of at most ``segment_frames`` indices each.

    They are multiples of :data:`SEGMENT_ALIGNMENT`, starting with 0; segments have nearly equal lengths. If
    there are more than the ``parallel`` calls, they fill complete rounds, as far as the alignment allows.
    Raises ``ValueError`` unless ``segment_frames`` is such a multiple too.
    """
    if segment_frames < SEGMENT_ALIGNMENT or segment_frames % SEGMENT_ALIGNMENT:
        raise ValueError(f"segments of {segment_frames} frames are not multiples of {SEGMENT_ALIGNMENT}")
    blocks = max(1, -(-count // SEGMENT_ALIGNMENT))
    segments = -(-blocks * SEGMENT_ALIGNMENT // segment_frames)
    if segments > parallel:
        segments = min(blocks, -(-segments // parallel) * parallel)
    return [place * blocks // segments * SEGMENT_ALIGNMENT for place in range(segments)]


def locate(index: int, step: int = 1) -> tuple[ChunkRef, int]:
    """Return the chunk that stores an index, a multiple of ``step``, and its position in it (0 to 31).

    Raises ``ValueError`` for an index that is not stored.
    """
    level, ordinal = level_of(index), member_ordinal(index, step)
    position = ordinal % CHUNK_MEMBERS
    if step == 1:
        return ChunkRef(level, member_index(level, ordinal - position)), position
    before = (i for i in range(index, -1, -step) if level_of(i) == level)
    return ChunkRef(level, next(itertools.islice(before, position, None)), step), position


def chunks(count: int, step: int = 1) -> Iterator[ChunkRef]:
    """Yield all chunks of a video of ``count`` indices, level by level, each in ascending order.

    ``step``: only indices that are multiples of it are stored.
    """
    for level in LEVELS:
        if step == 1:
            for ordinal in range(0, member_count(level, count), CHUNK_MEMBERS):
                yield ChunkRef(level, member_index(level, ordinal))
        else:
            members = (index for index in range(0, count, step) if level_of(index) == level)
            for first in itertools.islice(members, 0, None, CHUNK_MEMBERS):
                yield ChunkRef(level, first, step)
