"""A process of the platform that ends with the command that started it, even if that one is killed.

``python -m captionacc_dagster.platform.service_process LIFELINE LOCK MODULE [ARGUMENT…]`` runs a module as
``python -m`` does. ``LIFELINE`` is the reading end of a pipe whose other end the command holds: when that end
closes, this process stops as on SIGTERM. ``LOCK`` is a descriptor that it keeps open while it lives, or -1.
"""

import os
import runpy
import signal
import sys
import threading
import time

#: Time for an orderly end after the command is gone, in seconds.
END_SECONDS = 10.0


def main() -> None:
    """Run the module that the command line names."""
    lifeline, lock, module = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    for descriptor in (lifeline, lock):
        if descriptor >= 0:
            # Its children inherit neither.
            os.set_inheritable(descriptor, False)
    threading.Thread(target=_end_with, args=(lifeline,), name="lifeline", daemon=True).start()
    sys.argv = sys.argv[3:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _end_with(lifeline: int) -> None:
    os.read(lifeline, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(END_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
