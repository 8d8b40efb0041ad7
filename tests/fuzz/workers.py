"""Processes that run cases one after the other, and are replaced if one crashes or takes too long."""

import faulthandler
import itertools
import multiprocessing
import resource
import time
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection, wait

from tests.fuzz.media_files import KINDS, media_file
from tests.fuzz.stages import Case, Outcome, run

#: Time limit for one file, in seconds; the tests' files contain two seconds of frames.
LIMIT_SECONDS = 60
#: Address space of a worker beyond what it has at its start.
MEMORY_BYTES = 4 * 2**30


class _Worker:
    def __init__(self, context: multiprocessing.context.ForkContext, limit: float) -> None:
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()
        self.case: Case | None = None
        self._limit, self.started = limit, 0.0

    def give(self, case: Case) -> None:
        self.case, self.started = case, time.monotonic()
        self.pipe.send(case)

    @property
    def deadline(self) -> float:
        return self.started + self._limit

    def too_slow(self) -> Outcome:
        return Outcome("slow", self.case.file()[0], f"more than {self._limit:g} s")

    def outcome(self) -> Outcome:
        """Return the outcome of the case, or how the process ended during it."""
        try:
            return self.pipe.recv()
        except EOFError:
            self.process.join()
            return Outcome("crash", self.case.file()[0], f"the process ended with {self.process.exitcode}")

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _work(pipe: Connection) -> None:
    import av

    # A crash is a result here; pytest's handler would print it as if the run itself had crashed.
    faulthandler.disable()

    # FFmpeg's own level: with PyAV's, decoding threads wait for the interpreter's lock to log an error while
    # the thread that ends the decoder holds it and waits for them.
    av.logging.set_libav_level(av.logging.PANIC)
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        pages = int(file.read().split()[0])
    limit = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while True:
        pipe.send(run(pipe.recv()))


def outcomes(
    cases: Iterable[Case], count: int, limit: float = LIMIT_SECONDS
) -> Iterator[tuple[Case, Outcome, float]]:
    """Yield each case with its outcome and its seconds, as they finish."""
    for name in KINDS:
        media_file(name)  # made once, before the processes are forked
    context = multiprocessing.get_context("fork")
    waiting = iter(cases)
    workers: list[_Worker | None] = []
    try:
        for case in itertools.islice(waiting, count):
            workers.append(_Worker(context, limit))
            workers[-1].give(case)
        while workers:
            soonest = min(worker.deadline for worker in workers)
            ready = wait([worker.pipe for worker in workers], max(0.0, soonest - time.monotonic()))
            for place, worker in enumerate([*workers]):
                if worker.pipe not in ready and time.monotonic() < worker.deadline:
                    continue
                case, taken = worker.case, time.monotonic() - worker.started
                outcome = worker.outcome() if worker.pipe in ready else worker.too_slow()
                yield case, outcome, taken
                if outcome.verdict in ("slow", "crash"):
                    worker.end()
                    workers[place] = worker = _Worker(context, limit)
                if (following := next(waiting, None)) is not None:
                    worker.give(following)
                else:
                    worker.end()
                    workers[place] = None
            workers = [worker for worker in workers if worker is not None]
    finally:
        for worker in filter(None, workers):
            worker.end()
