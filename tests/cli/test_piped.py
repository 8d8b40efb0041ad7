"""What a pipe or a file gets: whole sentences and tables, and no word of a repository that is not there."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

from captionacc_dagster.cli import root

REPOSITORY = Path(__file__).resolve().parents[2]
#: Words of messages that only make sense in a checkout of the project.
OF_A_CHECKOUT = re.compile(
    r"\bmake (demo|dev|test|lint|lock|migration|clean)\b|pip install -e|python -m (training|benchmarks)\b"
    r"|constraints\.txt|modal_gpu/app\.py"
)


def piped(tmp_path: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {name: os.environ[name] for name in ("PATH", "XDG_STATE_HOME")}
    return subprocess.run(
        [sys.executable, "-m", "captionacc_dagster", *map(str, arguments)],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )


def test_an_error_is_one_line(tmp_path: Path):
    folder = tmp_path / ("a folder with a long name " * 6)
    folder.mkdir()
    done = piped(folder, "status")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"error: there is no home at {folder}/.captionacc, and this command makes")


def test_a_table_is_a_line_a_row(tmp_path: Path):
    models = tmp_path / "checkpoints"
    models.mkdir()
    name = f"{'a-very-long-version-' * 8}_0123abcd.safetensors"
    (models / name).write_bytes(b"model")
    done = piped(tmp_path, "model", "list", "--folder", tmp_path)
    assert done.returncode == 0, done.stderr
    heading, shipped, stored, place = done.stdout.splitlines()
    assert heading.split() == ["model", "size", "stored", "in", "use"]
    assert "shipped" in shipped and stored.startswith(f"{name} ") and place.startswith("folder ")


def test_no_message_needs_a_checkout():
    """After ``pip install`` there is no Makefile, and no ``training``."""
    found = []
    for package in ("captionacc_dagster", "modal_gpu"):
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            tree = ast.parse(path.read_text())
            # Docstrings and other texts that are no part of an expression are for readers of the code.
            notes = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            for node in ast.walk(tree):
                is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
                if is_text and id(node) not in notes and (word := OF_A_CHECKOUT.search(node.value)):
                    found.append(f"{path.relative_to(REPOSITORY)}:{node.lineno}: {word[0]}")
    assert found == []


def test_a_command_is_named_as_this_person_can_call_it(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/captionacc")
    assert root.command_line() == "captionacc"
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr(sys, "argv", [".venv/bin/captionacc", "demo"])
    assert root.command_line() == ".venv/bin/captionacc"
    monkeypatch.setattr(sys, "argv", ["/x/captionacc_dagster/__main__.py", "demo"])
    assert root.command_line() == f"{sys.executable} -m captionacc_dagster"
