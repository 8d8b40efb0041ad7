"""The table of commands, from which ``--help`` is answered, agrees with the commands."""

import typer
from typer.testing import CliRunner

from captionacc_dagster.cli.commands import COMMANDS, outline
from tests.all_commands import load_all


def test_the_table_names_all_commands_with_their_help():
    loaded = typer.main.get_command(load_all())
    helps = {
        name: command.help.partition("\n\n")[0].replace("\n", " ")
        for name, command in loaded.commands.items()
    }
    assert helps == {name: command.help for name, command in COMMANDS.items()}


def test_the_help_and_an_error_are_those_of_the_whole_command_line():
    runner = CliRunner()
    for arguments in (["--help"], ["--version"], ["statsu"], ["--wrong"]):
        expected, found = (runner.invoke(app, arguments) for app in (load_all(), outline()))
        assert found.exit_code == expected.exit_code
        assert sorted(found.output.splitlines()) == sorted(expected.output.splitlines())
