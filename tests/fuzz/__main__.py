"""Damage media files and databases, read them, and report those that did not end well."""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2

from tests.fuzz.stages import GOOD, Case, Outcome
from tests.fuzz.workers import LIMIT_SECONDS, outcomes


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases; return 1 if one of them was neither a success nor a clear error."""
    options = _options(arguments)
    cases = [_case(options.seed, name) for name in options.case or ()] or [
        *(Case(options.seed, "media", number) for number in range(options.media)),
        *(Case(options.seed, "database", number) for number in range(options.databases)),
    ]
    started = time.monotonic()
    tally: Counter[tuple[str, str, str]] = Counter()
    bad = slowest = 0
    for case, outcome, seconds in outcomes(cases, options.workers, options.limit):
        tally[case.what, outcome.kind, outcome.verdict] += 1
        slowest = max(slowest, seconds)
        if options.case:
            _say(f"{case} ({outcome.kind}): {outcome.verdict}, {outcome.detail}, {seconds:.1f} s")
        if outcome.verdict not in GOOD:
            bad += 1
            _keep(case, outcome, Path(options.keep), options.seed)
    _report(tally)
    took = time.monotonic() - started
    _say(f"{len(cases)} files in {took:.0f} s, the slowest {slowest:.1f} s: {bad} did not end well")
    return 1 if bad else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="another seed makes other files")
    parser.add_argument("--media", type=int, default=1000, help="media files (1000)")
    parser.add_argument("--databases", type=int, default=5000, help="databases (5000)")
    parser.add_argument("--case", action="append", help="only this one, such as media-312; may be repeated")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 2, help="processes")
    parser.add_argument("--limit", type=float, default=LIMIT_SECONDS, help="seconds a file may take (60)")
    parser.add_argument("--keep", default=".fuzz", help="folder for the files that did not end well")
    return parser.parse_args(arguments)


def _case(seed: int, name: str) -> Case:
    what, _, number = name.rpartition("-")
    if what not in ("media", "database") or not number.isdecimal():
        sys.exit(f"{name!r} is no case: give one such as media-312 or database-40")
    return Case(seed, what, int(number))


def _keep(case: Case, outcome: Outcome, folder: Path, seed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{seed}-{case}"
    path.write_bytes(case.file()[1])
    detail = " ".join(outcome.detail.split())[:200]
    _say(f"{outcome.verdict}: {case} ({outcome.kind}): {detail}")
    _say(f'    {path}; again: make fuzz FUZZ_ARGS="--seed {seed} --case {case}"')


def _report(tally: Counter[tuple[str, str, str]]) -> None:
    verdicts = sorted(
        {verdict for _, _, verdict in tally}, key=lambda verdict: (verdict not in GOOD, verdict)
    )
    for what in dict.fromkeys(what for what, _, _ in tally):
        total = Counter()
        for (kind_of, _, verdict), count in tally.items():
            total[verdict] += count if kind_of == what else 0
        _say(f"{what}: " + ", ".join(f"{total[verdict]} {verdict}" for verdict in verdicts))
        for kind in sorted({kind for of, kind, _ in tally if of == what}):
            counts = ", ".join(f"{tally[what, kind, v]} {v}" for v in verdicts if tally[what, kind, v])
            _say(f"    {kind}: {counts}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    # Before the workers are forked: a child cannot end its parent's threads.
    cv2.setNumThreads(1)
    sys.exit(main())
