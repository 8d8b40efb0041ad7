"""The recipes of docs/reference/api.md, run with curl against a server on this machine."""

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from captionacc_dagster.platform.ports import free_port
from captionacc_dagster.web.service.serving import ServiceThread
from captionacc_dagster.web.webhook import Webhook

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "api.md"
SECRET = "a secret of the recipes"


@pytest.fixture
def catalog(postgres_catalog):
    """One transport: the contract is tested elsewhere."""
    return postgres_catalog


@pytest.mark.system("curl", "jq")
def test_every_recipe_works(local_parts, people, starts, tmp_path):
    file = tmp_path / "talk.mp4"
    file.write_bytes(b"not a video, but of its size")
    parts = replace(local_parts, webhook=Webhook(starts, secret=SECRET))
    port = free_port("127.0.0.1")
    service = ServiceThread(parts, "127.0.0.1", port)
    service.begin()
    recipes = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert len(recipes) >= 8
    variables = {
        "API": f"http://127.0.0.1:{port}",
        "FILE": str(file),
        "TENANT": str(parts.settings.tenant_id),
        "LAID_OUT": people.videos.laid_out().video_id,
        "CAPTIONED": people.with_captions().video_id,
        "CAPTIONACC_WEBHOOK_SECRET": SECRET,
    }
    people.catalog.ensure_tenant(variables["TENANT"], "local")
    try:
        done = subprocess.run(
            ["bash", "-euxo", "pipefail", "-c", "\n".join(recipes)],
            env={"PATH": os.environ["PATH"], **variables},
            capture_output=True,
            text=True,
            timeout=120,
        )
    finally:
        service.end()
    assert done.returncode == 0, done.stderr[-3000:]
    assert '"status":"accepted"' in done.stdout and "event: ready" in done.stdout
    used = set(re.findall(r"\$API(/[a-z]+)", "".join(recipes)))
    assert used >= {"/videos", "/jobs", "/events", "/session", "/webhooks", "/livez", "/healthz"}
