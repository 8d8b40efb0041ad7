"""How many CPU cores this process may use."""

import os


def available_cores() -> int:
    """Cores in this process's CPU set, where the system has the notion; at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1
