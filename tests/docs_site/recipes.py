"""The commands of the how-to pages, read as a shell reads them and checked against the tools they call."""

import ast
import re
import shlex
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import click
import typer.main
import yaml
from dagster._cli import create_dagster_cli
from dagster._daemon.cli import create_dagster_daemon_cli
from modal.cli.entry_point import entrypoint_cli
from pydantic import AliasChoices

from captionacc_dagster.settings import Settings
from modal_gpu.deployment.settings import ModalSettings
from tests import documented_commands
from tests.all_commands import load_all

REPOSITORY = Path(__file__).resolve().parents[2]
HOW_TO = sorted((REPOSITORY / "docs" / "how-to").glob("*.md"))
#: Other pages whose commands people copy.
OTHER_PAGES = [
    REPOSITORY / name
    for name in (
        "README.md",
        "docs/index.md",
        "docs/reference/commands.md",
        "docs/reference/ocr-engines.md",
        "deploy/README.md",
    )
]
#: Checked elsewhere, or programs of the system whose options are not looked at.
SYSTEM = {"apt-get", "aws", "chmod", "cp", "openssl", "pip", "ssh", "tar"}
#: Run by a test: disaster recovery, Supabase.
RUN_BY_TESTS = {"pg_dump", "pg_restore", "curl", "supabase"}
#: Commands of the group ``captions``; without one of them it shows a video's.
CAPTIONS = {"show", "set", "split", "merge", "shift", "confirm"}
#: Variables of other programs, and the reader's own.
OTHERS = {"PROGRAMS", "MODAL_ENVIRONMENT", "MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET"}


class RecipeError(AssertionError):
    """A command that does not exist like this."""


@cache
def click_tools() -> dict[str, click.Command]:
    return {
        "captionacc": typer.main.get_command(load_all()),
        "dagster": create_dagster_cli(),
        "dagster-daemon": create_dagster_daemon_cli(),
        "modal": entrypoint_cli,
    }


def blocks(page: str, language: str) -> list[str]:
    """Return the fenced blocks of a language, without their indentation."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", page, re.DOTALL | re.MULTILINE)
    return ["\n".join(line.removeprefix(indent) for line in text.splitlines()) for indent, text in found]


def commands(page: str) -> list[str]:
    """Return the commands of the shell blocks, each on one line and without its comment."""
    lines = [
        line.strip() for block in blocks(page, "sh") for line in re.sub(r"\\\n\s*", "", block).splitlines()
    ]
    return [re.sub(r"\s+#.*$", "", line) for line in lines if line and not line.startswith("#")]


@cache
def variables() -> frozenset[str]:
    """Return the variables that the platform and its deployment on Modal read."""
    names = set(OTHERS)
    for fields in (Settings.model_fields, ModalSettings.model_fields):
        for field in fields.values():
            alias = field.validation_alias or field.alias
            names |= set(alias.choices) if isinstance(alias, AliasChoices) else {str(alias)}
    return frozenset(names)


def check(command: str) -> str:
    """Return the tool of a command. Raises :class:`RecipeError` or click's errors if it does not exist."""
    words = list(_words(command))
    while words and (set_here := re.match(r"([A-Z_]+)=(.*)", words[0])):
        if set_here[1] not in variables():
            raise RecipeError(f"{set_here[1]} is no setting")
        words = [] if set_here[2].startswith("$(") else words[1:]
    if not words:
        return "variables"
    tool = Path(words[0]).name
    if tool == "export":
        check(" ".join(map(shlex.quote, words[1:])))
    elif tool in click_tools():
        if words[:2] == ["captionacc", "captions"] and words[2] not in CAPTIONS:
            words.insert(2, "show")
        documented_commands.parse(
            shlex.join(words), click_tools(), ends_at=("run",) if tool == "modal" else ()
        )
    elif tool in CHECKS:
        CHECKS[tool](words[1:])
    elif tool not in SYSTEM | RUN_BY_TESTS:
        raise RecipeError(f"nothing checks {tool}")
    return tool


def _words(command: str) -> Iterator[str]:
    """Yield the words of the first command, without redirections such as ``> file``."""
    redirected = False
    for word in shlex.split(command):
        if word == "|":
            return
        if redirected or word in ("<", ">"):
            redirected = not redirected
        else:
            yield word


def _require(condition: object, message: str) -> None:
    if not condition:
        raise RecipeError(message)


def _make(words: list[str]) -> None:
    targets = re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    _require(set(words) <= set(targets), f"make {words}")


def _python(words: list[str]) -> None:
    """``python -m MODULE``: the module exists, and its options are arguments of a function in it."""
    _require(words[0] == "-m", f"python {words}")
    if words[1] == "pytest":
        _require(all((REPOSITORY / word).exists() for word in words[2:] if "/" in word), f"{words}")
        return
    file = REPOSITORY / words[1].replace(".", "/")
    source = file.with_suffix(".py") if file.with_suffix(".py").is_file() else file / "__main__.py"
    text = source.read_text()
    names = {node.arg for node in ast.walk(ast.parse(text)) if isinstance(node, ast.arg)}
    for word in words[2:]:
        if word.startswith("--"):
            name = word.lstrip("-").replace("-", "_")
            _require(name in names or f'"{word}"' in text, f"{words[1]} has no {word}")


@cache
def _compose() -> dict:
    return yaml.safe_load((REPOSITORY / "deploy" / "compose.yaml").read_text())


def _docker(words: list[str]) -> None:
    """``docker compose -f FILE …``: file, profiles and services exist, and the command in it."""
    if words[0] != "compose":
        _require(words[0] in ("build", "push"), f"docker {words}")
        return
    _require(words[1] == "-f" and words[2] == "deploy/compose.yaml", f"docker {words}")
    services, words = _compose()["services"], words[3:]
    profiles = {profile for service in services.values() for profile in service.get("profiles", ())}
    while words[0] == "--profile":
        _require(words[1] in profiles, f"profile {words[1]}")
        words = words[2:]
    verb, *words = words
    _require(verb in {"up", "run", "exec", "stop", "build", "logs", "restart"}, f"docker compose {verb}")
    while words and words[0].startswith("-"):
        words = words[2:] if words[0] in ("-v", "-e") else words[1:]
    if words:
        _require(words[0] in services, f"service {words[0]}")
        if words[1:] and words[1] != "pg_dump" and words[1] != "pg_restore":
            check(shlex.join(words[1:]))


@cache
def _objects() -> set[str]:
    kinds = {"Deployment": "deploy", "Job": "job", "CronJob": "cronjob"}
    files = (REPOSITORY / "deploy" / "kubernetes").glob("*.yaml")
    documents = [one for file in files for one in yaml.safe_load_all(file.read_text()) if one]
    return {f"{kinds[one['kind']]}/{one['metadata']['name']}" for one in documents if one["kind"] in kinds}


def _kubectl(words: list[str]) -> None:
    """``kubectl [-n captionacc] VERB …``: named objects and files exist, and the command in the pod too."""
    if words[0] == "-n":
        _require(words[1] == "captionacc", f"namespace {words[1]}")
        words = words[2:]
    _require(words[0] in {"create", "apply", "wait", "exec", "scale"}, f"kubectl {words[0]}")
    for before, word in zip(["", *words], words, strict=False):
        if before == "-f":
            _require((REPOSITORY / word).exists(), word)
        elif re.match(r"(deploy|job|cronjob)/\w", word):
            _require(word in _objects(), f"no file has {word}")
    if "--" in words and (inside := words[words.index("--") + 1 :])[0] in click_tools():
        check(shlex.join(inside))


def _helm(words: list[str]) -> None:
    if "-f" in words:
        file = REPOSITORY / words[words.index("-f") + 1]
        chart = words[words.index("--version") + 1]
        _require(file.is_file() and f"Helm chart, {chart}" in file.read_text(), f"helm {words}")


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "docker": _docker,
    "helm": _helm,
    "kubectl": _kubectl,
    "make": _make,
    "python": _python,
}
