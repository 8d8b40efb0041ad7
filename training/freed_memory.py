"""Memory that glibc keeps for the next batch."""

import ctypes

#: Of <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Set glibc to keep what a batch frees for the next one, up to 256 MB, in this process.

    By default it returns blocks of many megabytes to the system each time, and a third of the encoder's
    time goes into fetching the pages again. Other C libraries are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 64 << 20)
        mallopt(_M_TRIM_THRESHOLD, 256 << 20)
