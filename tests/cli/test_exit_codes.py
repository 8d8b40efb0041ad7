"""Exit codes: each documented one has its meaning in every command, and Ctrl-C says how to go on."""

import ast
import re
from pathlib import Path

import pytest

from captionacc_dagster.cli import app as cli_app
from captionacc_dagster.cli.commands import COMMANDS
from captionacc_dagster.cli.exit_codes import ExitCode
from captionacc_dagster.resources.catalog import VideoRow
from tests.cli.conftest import Captionacc

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference" / "commands.md").read_text()
#: Commands of a video, up to its name.
OF_A_VIDEO = [
    *(("status",), ("retry",), ("delete", "--yes"), ("export",), ("captions",), ("layout", "show")),
    *(("layout", "approve"), ("captions", "confirm", "--all"), ("cost", "estimate"), ("ocr", "set")),
]


def test_the_page_lists_the_codes():
    section = PAGE.partition("## Exit codes")[2].partition("\n## ")[0]
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)] == sorted(ExitCode)


def test_commands_exit_with_these_codes_only():
    """So that no command has a code of its own."""
    found = []
    for path in sorted((ROOT / "captionacc_dagster" / "cli").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("typer.Exit", "sys.exit", "exit"):
                found += [(path.name, ast.unparse(argument)) for argument in node.args]
    assert {argument for _, argument in found} <= {f"ExitCode.{code.name}" for code in ExitCode} | {"code"}
    assert [name for name, argument in found if argument == "code"] == ["__init__.py"]


@pytest.mark.parametrize("command", OF_A_VIDEO, ids=" ".join)
class TestEachCommand:
    def test_an_error_is_1_and_one_sentence(self, captionacc: Captionacc, command: tuple[str, ...]):
        result = captionacc(*command, "nothing.mp4")
        assert result.code == ExitCode.FAILED and result.output == ""
        assert result.notes == "error: no video matches 'nothing.mp4'; `captionacc status` lists all videos\n"

    def test_a_wrong_command_line_is_2(self, captionacc: Captionacc, command: tuple[str, ...]):
        result = captionacc(*command, "harbour.mp4", "--colour", "red")
        assert result.code == ExitCode.WRONG_COMMAND_LINE and result.output == ""
        error, hint = result.errors.splitlines()
        assert error.startswith("error: No such option: --colour")
        assert hint.endswith("--help` shows what it takes.")

    def test_an_interrupt_is_130_and_says_how_to_go_on(
        self, captionacc: Captionacc, finished: VideoRow, command: tuple[str, ...], monkeypatch
    ):
        def interrupted(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(cli_app.Parts, "find_video", interrupted)
        result = captionacc(*command, "harbour.mp4")
        assert result.code == ExitCode.STOPPED
        assert result.notes == f"{COMMANDS[command[0]].when_stopped}\n"


def test_every_command_says_something_when_it_is_stopped():
    assert all(re.fullmatch(r"(Stopped; .*|Ended)\.", command.when_stopped) for command in COMMANDS.values())


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["statsu"], "No such command 'statsu'. Did you mean 'status'?"),
        (["status", "--limit", "0"], "Invalid value for '--limit': 0 is not in the range 1<=x<=100000."),
        (["export"], "Missing argument 'VIDEO'."),
        (["layout", "move"], "No such command 'move'. Did you mean 'move-zone'?"),
    ],
)
def test_a_usage_error_is_one_line_and_where_the_help_is(captionacc: Captionacc, arguments, error: str):
    result = captionacc(*arguments)
    assert result.code == ExitCode.WRONG_COMMAND_LINE
    assert result.errors.splitlines()[0] == f"error: {error}"
    hint = result.errors.splitlines()[1]
    words = " ".join([word for word in arguments if word in COMMANDS])
    assert hint.endswith(f"captionacc {words}".rstrip() + " --help` shows what it takes.")


@pytest.mark.parametrize("arguments", [["status"], ["--help"], ["status", "--help"], ["layout"]])
def test_what_was_asked_for_is_0(captionacc: Captionacc, arguments: list[str]):
    assert captionacc(*arguments).code == ExitCode.DONE
