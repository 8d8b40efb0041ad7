"""docs/how-to/supabase.md: the commands of Supabase's CLI exist with their options."""

import re
import shlex
import subprocess
import tempfile

import pytest

from tests.docs_site.recipes import HOW_TO, commands
from tests.left_out import SUPABASE_CLI

pytestmark = pytest.mark.system("supabase-cli")

(PAGE,) = [page.read_text() for page in HOW_TO if page.stem == "supabase"]
COMMANDS = [line for line in commands(PAGE) if line.startswith("supabase ")]


def help_of(command: str) -> str:
    """Return the help of the command that would run; for one that does not exist, that of the one above."""
    words = [word for word in shlex.split(command)[1:] if re.fullmatch(r"[a-z]+", word)]
    # The CLI writes into the folder of the project that it is called in.
    with tempfile.TemporaryDirectory() as folder:
        call = [SUPABASE_CLI, *words[:2], "--help"]
        done = subprocess.run(call, cwd=folder, capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_exists_with_its_options(command: str):
    shown = help_of(command)
    named = " ".join(word for word in shlex.split(command) if re.fullmatch(r"[a-z]+", word))
    assert re.search(rf"^ *{named.split(' abc')[0]}\b", shown, re.MULTILINE), shown
    for option in re.findall(r"--[a-z-]+", command):
        assert option in shown


def test_the_page_pushes_the_migrations():
    assert "supabase db push" in COMMANDS and len(COMMANDS) >= 3
    assert "--no-such-option" not in help_of("supabase db push --no-such-option")
