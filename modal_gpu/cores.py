"""The number of CPU cores available to this process."""

import os


def available_cores() -> int:
    """Return the number of cores in this process's CPU set, else of the machine; at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1
