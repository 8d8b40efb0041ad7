"""Leave out the tests that this machine lacks something for, and say which in one line; a pytest plugin.

A test marked ``system("npm", …)`` needs each named part of the machine: an executable on ``PATH``, or a name
of :data:`SPECIAL_PARTS`. ``pytest --every-system-part`` fails where one is missing instead of leaving it out.
A test marked ``data`` needs the shared footage, one marked ``gpu`` an NVIDIA GPU (``pytest -m gpu``), and one
marked ``browser`` Chromium and the package that drives it (``make test-browser``).
"""

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from modal_gpu.extents.predictors import has_cuda

REPOSITORY = Path(__file__).resolve().parent.parent
DATA_DIR = Path(os.environ.get("CAPTIONACC_TEST_DATA", REPOSITORY.parent / "shared" / "data")).resolve()

#: The real Supabase CLI of tests/supabase_cli, which `make test-system` installs from npm; it runs on Node.
SUPABASE_CLI = REPOSITORY / "tests" / "supabase_cli" / "node_modules" / ".bin" / "supabase"

#: Names of Chromium's executable; :func:`chromium` returns the first one that is installed.
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")

#: Parts that are no executable, and how each is found.
SPECIAL_PARTS: dict[str, Callable[[], bool]] = {
    "root": lambda: os.geteuid() == 0,
    "a small disk": lambda: _mounts(),
    "supabase-cli": lambda: SUPABASE_CLI.exists() and shutil.which("node") is not None,
    "tesseract's language packs": lambda: _has_packs("kor", "rus", "ara", "hin", "tha", "vie", "heb"),
}


@cache
def _mounts() -> bool:
    """Return whether a memory file system can be mounted here; root in a container often cannot."""
    if shutil.which("mount") is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True
        )
        if mounted.returncode == 0:
            subprocess.run(["umount", folder], check=True)
        return mounted.returncode == 0


_has_gpu = cache(has_cuda)


@cache
def _has_packs(*packs: str) -> bool:
    """Return whether Tesseract is installed with these language packs."""
    if shutil.which("tesseract") is None:
        return False
    listed = subprocess.run(["tesseract", "--list-langs"], capture_output=True, text=True)
    return set(packs) <= set(listed.stdout.split())


def chromium() -> str | None:
    """Return the path of Chromium, or of a browser that is built from it."""
    return next(filter(None, map(shutil.which, CHROMIUM)), None)


_REASONS = pytest.StashKey[Counter]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--every-system-part",
        action="store_true",
        help="fail where a part of the machine is missing that a test needs; else leave the test out",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_REASONS] = Counter()


@pytest.hookimpl(trylast=True)  # After the selection by -m and -k, so that only selected tests are counted.
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    reasons = {item: reason for item in items if (reason := _reason(item))}
    if not reasons:
        return
    if config.getoption("--every-system-part"):
        raise pytest.UsageError("; ".join(_lines(Counter(reasons.values()), "need")))
    config.hook.pytest_deselected(items=list(reasons))
    items[:] = [item for item in items if item not in reasons]
    config.stash[_REASONS].update(reasons.values())


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In a process of pytest-xdist: report to the one that prints."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["left_out"] = dict(session.config.stash[_REASONS])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error) -> None:
    """From a process of pytest-xdist. Each collects all tests, so the counts are the same."""
    reasons = getattr(node, "workeroutput", {}).get("left_out", {})
    node.config.stash[_REASONS] |= Counter(reasons)


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    for line in _lines(config.stash[_REASONS], "left out that need"):
        terminalreporter.write_line(line)


def missing_parts(item: pytest.Item) -> Iterator[str]:
    """Parts of the machine that the test needs and that are not there."""
    for mark in item.iter_markers("system"):
        for part in mark.args:
            if not SPECIAL_PARTS.get(part, lambda part=part: shutil.which(part) is not None)():
                yield part


def _reason(item: pytest.Item) -> str:
    """Return what a test lacks, or an empty string."""
    if parts := sorted(set(missing_parts(item))):
        return f"{' and '.join(parts)}, which this machine does not have (make test-system runs them)"
    if item.get_closest_marker("gpu") and not _has_gpu():
        return "an NVIDIA GPU that PyTorch can use (on a machine with one, pytest -m gpu runs them)"
    if item.get_closest_marker("browser") and (lacks := _lacks_for_a_browser()):
        return f"{lacks}, which this machine does not have (make test-browser runs them)"
    if item.get_closest_marker("data") and not DATA_DIR.is_dir():
        return f"the shared footage: {DATA_DIR} is not there (set CAPTIONACC_TEST_DATA)"
    return ""


def _lacks_for_a_browser() -> str:
    """Return what is missing to drive a browser, or an empty string."""
    missing = ["Chromium (apt-get install chromium)"] if chromium() is None else []
    if importlib.util.find_spec("playwright") is None:
        missing.append("the package playwright (make test-browser installs it)")
    return " and ".join(missing)


def _lines(reasons: Counter, verb: str) -> list[str]:
    return [f"{count} tests {verb} {reason}" for reason, count in sorted(reasons.items())]
