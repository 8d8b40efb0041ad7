"""The comparison with other tools: its measuring, its table, and its sentence on who leads."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import benchmarks.peers.__main__ as peers
from benchmarks.metrics import Caption
from benchmarks.peers import environments
from benchmarks.peers.clips import Clip, known, names
from benchmarks.peers.environments import NotInstalledError, programs
from benchmarks.peers.measuring import Row, ToolFailedError, measure, measured, run_measured, stored
from benchmarks.peers.report import best_rows, markdown, standing
from benchmarks.peers.tools import NOT_MEASURED, OURS, RUNNERS, TOOLS, Call, Tool
from captionacc_dagster.demo.sample import SampleCaption, make_sample

ROW = Row(
    "clip", 10.0, "other", "default", (), "2026-11-27", truth=5, found=3, exact_text=3, both_ends=3, cpu=9.0
)
MINE = replace(ROW, tool=OURS, found=5, exact_text=5, both_ends=5, cpu=8.0)
#: Writes what it got as options as a caption, uses memory and CPU time, and has a child do the same.
SCRIPT = """
import subprocess, sys, time
output, text, *child = sys.argv[1:]
held = bytearray(60_000_000)
if not child:
    subprocess.run([sys.executable, __file__, output, text, "child"], check=True)
until = time.process_time() + 0.2
while time.process_time() < until:
    pass
if child:
    time.sleep(0.6)  # so that its memory is seen, five times a second
open(output, "w").write("1\\n00:00:00,400 --> 00:00:01,600\\n" + text + "\\n")
"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    video = tmp_path_factory.mktemp("clips") / "tiny.mp4"
    make_sample(
        video, captions=[SampleCaption(0.4, 1.6, "Hello.")], duration=2.0, size=(128, 128), logo=False
    )
    return Clip("tiny", video, [Caption(0.4, 1.6, "Hello.")])


@pytest.fixture
def tool(tmp_path: Path) -> Tool:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)

    def command(call: Call) -> list[str]:
        return [sys.executable, str(script), str(call.output), *call.options]

    return Tool("script", command, {"default": ("Hello.",), "other": ("Hullo.",)})


def test_a_run_is_measured_with_its_children_and_compared_with_the_truth(
    clip: Clip, tool: Tool, tmp_path: Path
):
    row = measure(tool, "default", clip, tmp_path, 60)
    assert not row.failure
    assert (row.truth, row.found, row.exact_text, row.both_ends, row.invented, row.cer) == (
        1,
        1,
        1,
        1,
        0,
        0.0,
    )
    assert row.cpu >= 0.4 and row.wall >= 0.4 and row.memory_mb >= 110
    assert measure(tool, "other", clip, tmp_path, 60).exact_text == 0


def test_an_earlier_row_is_used_until_the_options_change(clip: Clip, tool: Tool, tmp_path: Path):
    assert stored(tool, "default", clip, tmp_path) is None
    first = measured(tool, "default", clip, tmp_path, 60, again=False)
    broken = replace(tool, command=lambda call: ["/nonexistent"])
    again = replace(first, options=["Hello."])
    assert measured(broken, "default", clip, tmp_path, 60, again=False) == again
    assert stored(broken, "default", clip, tmp_path) == again
    with pytest.raises(FileNotFoundError):
        measured(broken, "default", clip, tmp_path, 60, again=True)


@pytest.mark.parametrize(
    ("code", "limit", "reason"),
    [
        ("raise SystemExit('no such model')", 60, "exit status 1: no such model"),
        ("while True: pass", 0.3, "stopped"),
    ],
)
def test_a_tool_that_fails_or_does_not_end_is_reported(tmp_path: Path, code: str, limit: float, reason: str):
    with pytest.raises(ToolFailedError, match=reason):
        run_measured([sys.executable, "-c", code], tmp_path / "log", limit, tmp_path)


def test_a_tool_without_its_system_command_is_not_installed(tmp_path: Path):
    with pytest.raises(NotInstalledError, match="needs the command no-such-command"):
        programs(Tool("x", lambda call: [], {"default": ()}, needs=("no-such-command",)), tmp_path)


def test_a_package_that_cannot_be_installed_says_why_and_is_tried_again(tmp_path: Path, monkeypatch):
    def refuse(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        installs = "install" in command
        said = "collecting\nERROR: No matching distribution found for none\n" if installs else ""
        return subprocess.CompletedProcess(command, int(installs), "", said)

    monkeypatch.setattr(environments.subprocess, "run", refuse)
    with pytest.raises(
        NotInstalledError, match="cannot be installed: No matching distribution found for none"
    ):
        programs(Tool("x", lambda call: [], {"default": ()}, ("none",)), tmp_path)
    assert not list(tmp_path.rglob("packages.json"))


def test_the_sentence_names_what_leads_and_what_does_not():
    assert standing([MINE, ROW]) == f"clip: {OURS} leads in found, exact text, both ends, CPU seconds"
    quick = replace(ROW, tool="quick", setting="fast", cpu=6.5, found=6)
    sentence = standing([MINE, ROW, quick])
    assert "leads in exact text, both ends" in sentence
    assert "is behind in found by 1 (quick, fast); CPU seconds by 1.5 s (quick, fast)" in sentence


def test_a_tie_is_no_lead():
    sentence = standing([MINE, replace(ROW, tool="equal", found=MINE.found, exact_text=MINE.exact_text)])
    assert sentence == f"clip: {OURS} leads in both ends, CPU seconds, and is level in found, exact text"


def test_a_tool_that_was_handed_the_times_or_failed_counts_for_nothing_else():
    handed = replace(ROW, tool="handed", times_given=True, found=9, both_ends=9, cpu=0.1)
    failed = replace(ROW, tool="failed", failure="exit status 1", cpu=0.0, found=99)
    assert "behind" not in standing([MINE, handed, failed])
    assert "behind in exact text by 1" in standing([MINE, replace(handed, exact_text=6)])


def test_a_tool_has_its_default_and_its_best_setting():
    better, worse = (
        replace(ROW, setting=name, both_ends=ends) for name, ends in (("better", 5), ("worse", 1))
    )
    assert best_rows([MINE, ROW, worse, better]) == [MINE, ROW, better]
    assert best_rows([ROW, worse]) == [ROW]
    assert best_rows([ROW, replace(ROW, setting="quick", cpu=1.0)])[1].setting == "quick"


def test_a_failed_run_is_never_the_best_of_a_tool():
    failed = replace(ROW, failure="exit status 1")
    assert "| other | default: exit status 1 | – | – | – | – | – | – | – | – |" in markdown([failed])
    assert best_rows([failed, replace(ROW, setting="works")])[1].setting == "works"


def test_every_tool_is_described_and_each_runner_is_used():
    assert not {tool.name for tool in TOOLS} & set(NOT_MEASURED)
    assert all(next(iter(tool.settings)) == "default" for tool in TOOLS)
    clip = Clip("x", Path("x.mp4"), [])
    used = {
        Path(part).name
        for tool in TOOLS
        for part in tool.command(Call(Path("bin"), clip, Path("out/x.srt"), ()))
        if part.startswith(str(RUNNERS))
    }
    assert used == {path.name for path in RUNNERS.glob("*.py")}


def test_clips_are_shared_ones_the_sample_and_situations():
    assert names()[:3] == ["en90", "zh80", "sample"] and all(map(known, names()))
    assert known("karaoke") and not known("nothing")


def json_lines(output: str) -> Iterator[dict[str, Any]]:
    """Yield the rows; what was not measured goes to stderr, which the runner mixes in."""
    return (json.loads(line) for line in output.splitlines() if line.startswith("{"))


def test_without_the_footage_the_other_clips_are_compared(tool: Tool, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(peers.all_clips, "DATA", tmp_path / "none")
    monkeypatch.setattr(peers.all_clips, "make_sample", lambda video, truth: truth.write_text(""))
    monkeypatch.setattr(peers, "TOOLS", (tool,))
    monkeypatch.setattr(peers, "measured", lambda tool, setting, clip, *_, **__: replace(ROW, clip=clip.name))
    app = peers.typer.Typer()
    app.command()(peers.main)
    runner = CliRunner()
    shown = runner.invoke(app, ["--cache", str(tmp_path), "--json"])
    assert shown.exit_code == 0
    assert {row["clip"] for row in json_lines(shown.output)} == {"sample"}
    absent = [name for name in names() if name != "sample"]
    assert all(f"{name}: not measured: " in shown.output for name in absent)
    for name in absent:
        named = runner.invoke(app, [name, "--cache", str(tmp_path)], env={"COLUMNS": "300"})
        assert named.exit_code == 2 and "CAPTIONACC_TEST_DATA" in named.output


def test_the_command_prints_the_table_and_what_was_not_measured(
    tool: Tool, clip: Clip, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr(peers, "TOOLS", (replace(tool, name=OURS), tool))
    monkeypatch.setattr(peers.all_clips, "clip", lambda name, folder: clip)
    arguments = ["sample", "--cache", str(tmp_path)]
    app = peers.typer.Typer()
    app.command()(peers.main)
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "tiny: 2 s, 1 captions" in done.output and "VideoSubFinder: not measured: only as" in done.output
    pages = CliRunner().invoke(app, [*arguments, "--markdown"]).output
    assert "### tiny: 2 s, 1 captions" in pages and "| script | default | " in pages
    assert CliRunner().invoke(app, [*arguments, "--kept", "--markdown"]).output == pages
    lines = list(json_lines(CliRunner().invoke(app, [*arguments, "--json"]).output))
    assert [(line["tool"], line["setting"], line["exact_text"]) for line in lines[2:]] == [
        ("script", "default", 1),
        ("script", "other", 0),
    ]


def test_the_script_that_people_write_merges_equal_texts():
    code = (
        "import sys, types; sys.modules['cv2'] = types.ModuleType('cv2'); import run_sampler as s; "
        "samples = [(0, ''), (0.1, 'Hello'), (0.2, 'Helo'), (0.3, 'Hello'), (0.4, 'Bye'), (0.5, '')]; "
        "print(s.merged(samples, 0.1), s.stamp(3661.0415))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=RUNNERS, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[(0.1, 0.4, 'Hello'), (0.4, 0.5, 'Bye')] 01:01:01,042\n"
