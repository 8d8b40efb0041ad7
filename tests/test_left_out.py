"""What a machine lacks is never skipped silently: one line a reason, with pytest-xdist and without."""

import pytest

from tests.left_out import SPECIAL_PARTS, _mounts

TESTS = """
import pytest

@pytest.mark.system("no-such-program-here")
@pytest.mark.parametrize("n", range(3))
def test_of_a_program(n): ...

@pytest.mark.system("python3", "no-such-program-here", "nor-this")
def test_of_two_programs(): ...

@pytest.mark.system("sh")
def test_of_a_shell(): ...

@pytest.mark.data
def test_of_footage(): ...

@pytest.mark.gpu
def test_of_a_gpu(): ...

@pytest.mark.browser
def test_of_a_page(): ...
"""

LINES = [
    "1 tests left out that need Chromium, which this machine does not have (make test-browser*",
    "1 tests left out that need an NVIDIA GPU that PyTorch can use (on a machine with one, pytest -m gpu*",
    "1 tests left out that need no-such-program-here and nor-this, which this machine does not have*",
    "3 tests left out that need no-such-program-here, which this machine does not have (make test-system*",
    "1 tests left out that need the shared footage: * is not there (set CAPTIONACC_TEST_DATA)",
]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest):
    """Runs :data:`TESTS` in a process of its own, without the footage and as if without GPU and browser."""
    monkeypatch.setenv("CAPTIONACC_TEST_DATA", str(pytester.path / "no-footage"))
    pytester.makeconftest(
        "import tests.left_out\n"
        "tests.left_out._has_gpu = lambda: False\n"
        "tests.left_out._lacks_for_a_browser = lambda: 'Chromium'\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(request.config.rootpath))
    pytester.makeini("[pytest]\nmarkers =\n    system: x\n    data: x\n    gpu: x\n    browser: x\n")
    pytester.makepyfile(TESTS)
    return lambda *options: pytester.runpytest_subprocess("-p", "tests.left_out", *options)


@pytest.mark.parametrize("processes", ["0", "2"])
def test_each_reason_is_one_line(run, processes):
    result = run("-n", processes)
    assert result.ret == 0
    assert result.parseoutcomes()["passed"] == 1
    result.stdout.fnmatch_lines(LINES)


def test_only_the_requested_parts_count(run):
    result = run("-m", "data")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result.stdout.no_fnmatch_line("*no-such-program-here*")
    result.stdout.fnmatch_lines(LINES[-1:])


def test_with_every_part_required_a_missing_one_is_an_error(run):
    result = run("-m", "system", "--every-system-part")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*3 tests need no-such-program-here, which*"])


def test_a_part_is_missing_if_its_program_is_not_found(monkeypatch):
    """On a machine with next to no programs too."""
    monkeypatch.setenv("PATH", "/nowhere")
    for name, is_there in SPECIAL_PARTS.items():
        _mounts.cache_clear()
        assert is_there() in (True, False), name
    _mounts.cache_clear()
