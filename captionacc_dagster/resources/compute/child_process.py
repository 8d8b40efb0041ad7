"""Runs one call in a process of its own, with its progress and its typed errors."""

import multiprocessing
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from modal_gpu.contracts import Progress
from modal_gpu.errors import CaptionAccError, RemoteInterruptedError

#: How often ``progress`` is called while the child is silent, in seconds.
_HEARTBEAT_SECONDS = 1.0
_END_SECONDS = 5.0


def run_in_child(work: Callable[[Progress], Any], name: str, progress: Progress) -> Any:
    """Return ``work(progress)``, run in a spawned process; ``work`` and its result are pickled.

    Raises the :class:`CaptionAccError` that ``work`` raises, ``RuntimeError`` for any other error, and
    :class:`RemoteInterruptedError`, which names ``name``, when the process dies. An exception from
    ``progress`` ends the process and is passed on.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(work, sender), name="captionacc-segment")
    process.start()
    sender.close()
    step: tuple[str, int, int] | None = None
    try:
        while True:
            if not receiver.poll(_HEARTBEAT_SECONDS):
                if step is not None:
                    progress(*step)
                continue
            kind, value = receiver.recv()
            if kind == "progress":
                step = value
                progress(*step)
            elif kind == "result":
                return value
            else:
                raise value
    except EOFError:
        process.join(_END_SECONDS)
        raise RemoteInterruptedError(
            f"{name}: its process died (exit status {process.exitcode}); memory may have run out"
        ) from None
    finally:
        receiver.close()
        if process.is_alive():
            process.join(0.1)
            process.terminate()
        process.join(_END_SECONDS)
        if process.is_alive():
            process.kill()
            process.join()


def _child(work: Callable[[Progress], Any], sender: Connection) -> None:
    def progress(stage: str, done: int, total: int) -> None:
        try:
            sender.send(("progress", (stage, done, total)))
        except OSError:  # the parent no longer waits
            sys.exit(1)

    try:
        outcome = "result", work(progress)
    except CaptionAccError as error:
        outcome = "error", error
    except Exception as error:
        outcome = "error", RuntimeError(f"{type(error).__name__}: {error}")
    sender.send(outcome)
    sender.close()
