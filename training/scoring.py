"""The agreement of extents with the truth, for choosing weights and for the benchmarks."""

from collections.abc import Sequence

#: Frames by which either end may be off.
TOLERANCE = 1


def matched(truth: Sequence[tuple[int, int]], found: Sequence[tuple[int, int]]) -> int:
    """Count captions with both ends within :data:`TOLERANCE` frames, one to one; both lists are sorted."""
    right, place = 0, 0
    for start, end in truth:
        while place < len(found) and found[place][0] < start - TOLERANCE:
            place += 1
        for other in range(place, len(found)):
            if found[other][0] > start + TOLERANCE:
                break
            if abs(found[other][1] - end) <= TOLERANCE:
                right, place = right + 1, other + 1
                break
    return right
