"""``captionacc doctor --modal``: each part that is missing is named, with the command that makes it."""

import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import modal
import pytest
from modal.types import FileEntry, FileEntryType

from captionacc_dagster.cli.modal_checks import modal_findings
from modal_gpu.deployment.settings import FUNCTIONS, STORAGE_KEYS, ModalSettings

NotFoundError = modal.exception.NotFoundError


class Account:
    """The surface of the module ``modal`` that the doctor uses, over an account's contents."""

    def __init__(self) -> None:
        self.token: Exception | None = None
        #: What a look for a secret with required keys raises.
        self.refusal: Exception | None = None
        self.refused = 0
        self.app, self.functions = "captionacc-processing", set(FUNCTIONS)
        self.secrets = {"wasabi": set(STORAGE_KEYS), "google-vision": {"GOOGLE_APPLICATION_CREDENTIALS_JSON"}}
        self.volume: dict[str, bytes] | None = {}
        self.queues = {"captionacc-progress"}
        self.environments: set[str | None] = set()

    @property
    def client(self) -> types.SimpleNamespace:
        """The stand-in for the module."""
        account = self

        class Handle:
            def __init__(self, exists: bool, name: str) -> None:
                self.exists, self.name = exists, name

            def hydrate(self) -> "Handle":
                if not self.exists:
                    raise NotFoundError(f"{self.name} not found")
                return self

            def hello(self) -> None:
                if account.token:
                    raise account.token

            def listdir(self, path: str) -> list[FileEntry]:
                if not account.volume:
                    raise NotFoundError(path)
                names = [f"checkpoints/{name}" for name in account.volume]
                return [FileEntry(name, FileEntryType.FILE, 0, 1) for name in names]

            def read_file(self, path: str):
                if (name := path.removeprefix("checkpoints/")) not in account.volume:
                    raise FileNotFoundError(path)
                yield account.volume[name]

        def seen(environment: str | None, exists: bool, name: str) -> Handle:
            account.environments.add(environment)
            return Handle(exists, name)

        def lookup(name: str, *, environment_name: str | None) -> Handle:
            return seen(environment_name, name == account.app, name).hydrate()

        def function(app: str, name: str, *, environment_name: str | None) -> Handle:
            return seen(environment_name, app == account.app and name in account.functions, name)

        def secret(name: str, *, environment_name: str | None, required_keys: list[str] = ()) -> Handle:
            if required_keys and account.refusal:
                account.refused += 1
                raise account.refusal
            exists = name in account.secrets and set(required_keys) <= account.secrets[name]
            return seen(environment_name, exists, name)

        def volume(name: str, *, environment_name: str | None) -> Handle:
            return seen(environment_name, account.volume is not None and name == "boundary-models", name)

        def queue(name: str, *, environment_name: str | None) -> Handle:
            return seen(environment_name, name in account.queues, name)

        named = {"Function": function, "Secret": secret, "Volume": volume, "Queue": queue}
        return types.SimpleNamespace(
            Client=types.SimpleNamespace(from_env=lambda: Handle(True, "client")),
            App=types.SimpleNamespace(lookup=lookup),
            exception=modal.exception,
            **{kind: types.SimpleNamespace(from_name=from_name) for kind, from_name in named.items()},
        )


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Account:
    for name in list(os.environ):
        if name.startswith(("MODAL_", "EXTENTS_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return Account()


def look(account: Account, **settings: Any) -> dict[tuple[str, bool], str]:
    """Return details and advice by subject and result."""
    findings = list(modal_findings(account.client, ModalSettings(**settings)))
    return {(f.what, f.ok): f"{f.detail} → {f.advice}" for f in findings}


def test_the_secret_with_the_buckets_keys_has_either_documented_name(account: Account):
    account.secrets["wasabi-credentials"] = {"WASABI_BUCKET", "WASABI_ACCESS_KEY", "WASABI_SECRET_KEY"}
    del account.secrets["wasabi"]
    assert ("secret", False) in look(account)
    assert ("secret", False) not in look(account, MODAL_STORAGE_SECRET="wasabi-credentials")


def test_a_secret_that_cannot_be_looked_up_is_not_taken_for_one_without_keys(account: Account):
    account.refusal = modal.exception.ServiceError("busy")
    assert "ServiceError: busy" in look(account)["secret", False]
    assert account.refused == 1


def test_everything_is_in_order(account: Account):
    findings = list(modal_findings(account.client, ModalSettings(MODAL_ENVIRONMENT="staging")))
    assert all(finding.ok for finding in findings)
    whats = [finding.what for finding in findings]
    assert whats == [
        "token", "app", *["function"] * 3, "secret", "secret", "volume", "model", "queue",
    ]  # fmt: skip
    assert account.environments == {"staging"}
    assert "crop_and_infer_caption_frame_extents (set to A10G, 3600 s)" in [f.detail for f in findings]


def break_(name: str, value: Any):
    return lambda account: setattr(account, name, value)


@pytest.mark.parametrize(
    ("damage", "what", "advice"),
    [
        (break_("app", "another"), "app", "modal deploy --env prod -m modal_gpu.app"),
        (lambda a: a.functions.remove(FUNCTIONS[2]), "function", "modal deploy --env prod -m modal_gpu.app"),
        (
            lambda a: a.secrets.pop("wasabi"),
            "secret",
            "modal secret create --env prod --force wasabi WASABI_",
        ),
        (lambda a: a.secrets["wasabi"].discard(STORAGE_KEYS[0]), "secret", "--force wasabi WASABI_BUCKET=…"),
        (lambda a: a.secrets.pop("google-vision"), "secret", "create --env prod google-vision GOOGLE_APPLIC"),
        (break_("volume", None), "volume", "modal volume create --env prod boundary-models"),
        (break_("queues", set()), "queue", "modal queue create --env prod captionacc-progress"),
    ],
)
def test_a_missing_part_is_reported_with_the_command_that_creates_it(
    account: Account, damage, what: str, advice: str
):
    damage(account)
    found = look(account, MODAL_ENVIRONMENT="prod")
    assert [name for name, ok in found if not ok] == [what]
    assert "not found" in found[what, False] and advice in found[what, False]


@pytest.mark.parametrize(
    "error", [modal.exception.AuthError("Token missing."), modal.exception.ConnectionError("no route")]
)
def test_without_a_usable_token_nothing_else_is_checked(account: Account, error: Exception):
    account.token = error
    found = look(account)
    assert list(found) == [("token", False)]
    assert str(error) in found["token", False] and "modal token new" in found["token", False]


def test_the_chosen_model_is_read_and_compared_with_its_name(account: Account, tmp_path: Path):
    from modal_gpu.extents.torch_checkpoint import save_checkpoint
    from tests.modal_gpu.deployment.conftest import tiny_network

    made = save_checkpoint(tiny_network(), "extents-9", tmp_path)
    name = made.path.name
    missing = look(account, EXTENTS_MODEL=name)["model", False]
    assert f"there is no model file {name}" in missing and "captionacc model upload --modal" in missing
    account.volume[name] = made.path.read_bytes()
    assert made.sha256[:8] in look(account, EXTENTS_MODEL=name)["model", True]
    account.volume[name] += b"!"
    assert "damaged or was changed" in look(account, EXTENTS_MODEL=name)["model", False]


def test_the_command_with_the_real_client_and_no_token(tmp_path: Path):
    """Nothing is reached, the exit code is 1, and the advice is printed."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", "from captionacc_dagster.cli import main; main()", "doctor", "--modal"],
        env={**kept, "HOME": str(tmp_path), "CAPTIONACC_HOME": str(tmp_path / "home"), "COLUMNS": "200"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "AuthError" in done.stdout and "modal token new" in done.stdout
