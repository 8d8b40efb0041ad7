"""``captionacc doctor --modal``: checks of what the remote functions need, with how to set it up."""

from collections.abc import Callable, Iterator
from typing import Any

from captionacc_dagster.cli.findings import Finding, check_safely, in_one_line
from modal_gpu.deployment.models import VolumeModels, verify_models
from modal_gpu.deployment.settings import (
    FUNCTIONS,
    MODEL_VOLUME,
    OTHER_STORAGE_KEYS,
    PROGRESS_QUEUE,
    STORAGE_KEYS,
    VISION_SECRET,
    ModalSettings,
)

#: One check: whether the thing is ok, and a detail about it.
Check = Callable[[], tuple[bool, str]]


def modal_findings(client: Any, settings: ModalSettings) -> Iterator[Finding]:
    """Check the token, then everything that needs it.

    ``client`` is the module ``modal``. Without a usable token there is only one finding.
    """
    env = f" --env {settings.environment}" if settings.environment else ""
    deploy = f"deploy it: `modal deploy{env} -m modal_gpu.app`"
    storage = " ".join(f"{key}=…" for key in (*STORAGE_KEYS, "WASABI_ENDPOINT_URL", "WASABI_REGION"))
    place = settings.environment or "the profile's default"

    token = _finding("token", lambda: _token(client), "`modal token new`, or set MODAL_TOKEN_ID and _SECRET")
    yield token
    if not token.ok:
        return

    def named(kind: str, name: str, **options: Any) -> Check:
        def check() -> tuple[bool, str]:
            handle = getattr(client, kind).from_name(name, environment_name=settings.environment, **options)
            handle.hydrate()
            return True, name

        return check

    def app() -> tuple[bool, str]:
        client.App.lookup(settings.app_name, environment_name=settings.environment)
        return True, f"{settings.app_name} in environment {place}"

    found = _finding("app", app, deploy)
    yield found
    if found.ok:
        for function in FUNCTIONS:
            yield _finding("function", _function(client, settings, function), deploy)
    yield _finding(
        "secret",
        _storage_secret(client, named, settings.storage_secret),
        f"`modal secret create{env} --force {settings.storage_secret} {storage}`, or set "
        "MODAL_STORAGE_SECRET to the secret that has them and deploy again",
    )
    yield _finding(
        "secret",
        named("Secret", VISION_SECRET),
        f'`modal secret create{env} {VISION_SECRET} GOOGLE_APPLICATION_CREDENTIALS_JSON="$(cat key.json)"`, '
        'or with "" to read with RapidOCR',
    )
    volume = _finding("volume", named("Volume", MODEL_VOLUME), f"`modal volume create{env} {MODEL_VOLUME}`")
    yield volume
    if volume.ok:
        advice = "`captionacc model upload --modal`, or unset EXTENTS_MODEL and deploy again"
        yield _finding("model", lambda: _model(client, settings), advice)
    yield _finding(
        "queue", named("Queue", PROGRESS_QUEUE), f"`modal queue create{env} {PROGRESS_QUEUE}` (for progress)"
    )


def _storage_secret(client: Any, named: Callable[..., Check], name: str) -> Check:
    """Return the check of the secret with the bucket's keys, which have two documented names each."""
    # Modal's server refuses a secret without a required key; its client maps refusals to these.
    refusals = (client.exception.NotFoundError, client.exception.InvalidError)

    def check() -> tuple[bool, str]:
        try:
            return named("Secret", name, required_keys=list(STORAGE_KEYS))()
        except refusals:
            others = [OTHER_STORAGE_KEYS.get(key, key) for key in STORAGE_KEYS]
            return named("Secret", name, required_keys=others)()

    return check


def _finding(what: str, check: Check, advice: str) -> Finding:
    # The messages of the client's errors name the object.
    return check_safely(what, lambda: (*check(), advice), lambda error: (in_one_line(error), advice))


def _token(client: Any) -> tuple[bool, str]:
    client.Client.from_env().hello()
    return True, "Modal accepts it"


def _function(client: Any, settings: ModalSettings, name: str) -> Check:
    def check() -> tuple[bool, str]:
        client.Function.from_name(settings.app_name, name, environment_name=settings.environment).hydrate()
        own = settings.function(name)
        return True, f"{name} (set to {own.gpu or 'no GPU'}, {own.timeout_seconds} s)"

    return check


def _model(client: Any, settings: ModalSettings) -> tuple[bool, str]:
    models = VolumeModels(
        client.Volume.from_name(MODEL_VOLUME, environment_name=settings.environment), MODEL_VOLUME
    )
    if not settings.extents_model:
        return True, f"the bundled one; {len(models.list())} on the volume"
    [verdict] = verify_models(models, [settings.extents_model])
    return (
        not verdict.problem,
        verdict.problem or f"{verdict.name}, sha256 {verdict.sha256[:8]}… as in its name",
    )
