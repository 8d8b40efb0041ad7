"""docs/how-to/modal.md: commands exist in the installed tools with these options, every setting is there."""

import re
from pathlib import Path

import click
import pytest
import typer.main
from modal.cli.entry_point import entrypoint_cli

from captionacc_dagster.cli.modal_checks import modal_findings
from modal_gpu.deployment.settings import FUNCTIONS, STORAGE_KEYS, ModalSettings
from tests import documented_commands
from tests.all_commands import load_all

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "how-to" / "modal.md").read_text()
TOOLS = {"modal": entrypoint_cli, "captionacc": typer.main.get_command(load_all())}


def advice() -> str:
    """Return the doctor's advice in the worst case: only the token exists."""

    class Nothing:
        def __getattr__(self, name):
            return self

        def __call__(self, *args, **kwargs):
            return self

        def lookup(self, *args, **kwargs):
            raise LookupError("no app")

        def hydrate(self):
            raise LookupError("nothing here")

    findings = list(modal_findings(Nothing(), ModalSettings(MODAL_ENVIRONMENT="dev", _env_file=None)))
    assert {f.what for f in findings if not f.ok} == {"app", "secret", "volume", "queue"}
    return "\n".join(finding.advice for finding in findings)


def commands(text: str) -> list[str]:
    """Commands of these tools, in blocks and inside sentences."""
    found: list[str] = []
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        lines = re.sub(r"\\\n\s*", "", block).splitlines()
        found += [re.sub(r"^([A-Z_]+=\S+ )+", "", line.strip()) for line in lines]
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    found += re.findall(r"`([^`]+)`", prose)
    return list(dict.fromkeys(c for c in found if re.match(rf"({'|'.join(TOOLS)}) \S+ \S", c)))


def parse(command: str) -> str:
    return documented_commands.parse(command, TOOLS, ends_at=("run",))


@pytest.mark.parametrize("command", commands(PAGE))
def test_a_command_of_the_page_exists_with_its_options(command: str):
    parse(command)


@pytest.mark.parametrize("command", commands(advice()))
def test_the_commands_that_the_doctor_suggests_exist_with_their_options(command: str):
    parse(command)


@pytest.mark.parametrize(
    "command",
    [
        "modal depoly modal_gpu/app.py",
        "modal deploy --environment-name prod modal_gpu/app.py",
        "modal app logs --last 5 captionacc-processing",
        "modal secret edit wasabi",
        "modal volume create a b",
        "modal run --gpu T4 modal_gpu/app.py::test_inference",
        "captionacc model push",
        "captionacc model upload --file best.pt --model-version 1",
    ],
)
def test_an_invented_command_would_be_noticed(command: str):
    with pytest.raises(click.UsageError):
        parse(command)


def test_the_page_has_the_commands_that_matter():
    names = {parse(command) for command in commands(PAGE)}
    assert names >= {
        *("modal new", "modal deploy", "modal run", "modal logs", "modal rotate", "modal rollback"),
        *("captionacc doctor", "captionacc upload", "captionacc verify", "captionacc import-wandb"),
    }
    assert len(commands(PAGE)) > 35 and len(commands(advice())) >= 5


def test_every_setting_is_on_the_page_with_its_default():
    table = dict(re.findall(r"^\| `([A-Z_]+)` \| ([^|]+) \|", PAGE, re.MULTILINE))
    fields = ModalSettings.model_fields.values()
    assert set(table) == {field.alias for field in fields}
    for field in fields:
        shown = table[field.alias].strip("` ")
        if field.default not in ("", None):
            assert shown == str(field.default).lower() or shown == str(field.default), field.alias


def test_names_of_functions_and_keys_are_the_codes():
    assert all(f"| `{name}` |" in PAGE for name in FUNCTIONS)
    assert all(f"{key}=" in PAGE for key in STORAGE_KEYS)
