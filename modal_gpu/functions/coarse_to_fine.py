"""The order in which full frames are read: every other one first, the rest until the layout is certain."""

from collections.abc import Callable, Collection, Iterable, Iterator

from modal_gpu.media.frames import FullFrame

#: Bytes of images that wait; in a video of larger frames all are read at once.
_WAITING_BYTES = 96 * 2**20


def coarse_to_fine(
    frames: Iterable[FullFrame], coarse: Collection[int], is_certain: Callable[[], bool]
) -> Iterator[FullFrame]:
    """Yield the frames with an index in ``coarse`` in order, then the others until ``is_certain``.

    The others come in an order that spreads them over the video early. If too many bytes would wait, they are
    yielded in their place instead.
    """
    waiting: list[FullFrame] = []
    room = _WAITING_BYTES
    for frame in frames:
        if frame.index in coarse or frame.image.nbytes > room:
            yield frame
        else:
            waiting.append(frame)
            room -= frame.image.nbytes
    for place in spread(len(waiting)):
        if is_certain():
            return
        yield waiting[place]


def spread(count: int) -> list[int]:
    """Return ``0 … count - 1`` so that each beginning of the list is spread over them (van der Corput)."""
    bits = max(1, (count - 1).bit_length())
    return sorted(range(count), key=lambda place: f"{place:0{bits}b}"[::-1])
