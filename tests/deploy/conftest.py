"""A deployment's own processes for tests: the production dagster.yaml on real PostgreSQL and S3."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from modal_gpu.storage import ObjectStore
from tests.storage_fixtures import ACCESS_KEY, SECRET_KEY, S3Server

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy"


@pytest.fixture
def deployment(empty_dsn: str, s3_server: S3Server, tmp_path: Path) -> dict[str, str]:
    """The environment of a deployment's processes; only the two folders differ from the image."""
    bucket = s3_server.make_settings().url.removeprefix("s3://")
    home = tmp_path / "dagster_home"
    home.mkdir()
    text = (DEPLOY / "dagster.yaml").read_text()
    (home / "dagster.yaml").write_text(text.replace("/var/lib/captionacc", str(tmp_path / "state")))
    with psycopg.connect(empty_dsn) as connection:
        info = connection.info
        user, socket, name = info.user, info.host, info.dbname
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "TMPDIR", "HOME")}
    return kept | {
        "DAGSTER_HOME": str(home),
        "DAGSTER_POSTGRES_URL": f"postgresql+psycopg2://{user}@/{name}?host={quote(socket, safe='')}",
        "DAGSTER_LOGS_BUCKET": bucket,
        "DAGSTER_LOGS_ENDPOINT": s3_server.endpoint,
        "DAGSTER_LOGS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "CAPTIONACC_DATABASE_URL": empty_dsn,
        "CAPTIONACC_STORAGE_URL": f"s3://{bucket}",
        "CAPTIONACC_HOME": str(tmp_path / "state"),
        "CAPTIONACC_CODE_SERVER": "127.0.0.1",
        "CAPTIONACC_LOG_FORMAT": "json",
    }


@pytest.fixture
def logs_bucket(deployment: dict[str, str], s3_server: S3Server) -> ObjectStore:
    return ObjectStore(s3_server.settings(f"s3://{deployment['DAGSTER_LOGS_BUCKET']}"))


@pytest.fixture
def execute(deployment: dict[str, str], tmp_path: Path) -> Callable[..., subprocess.CompletedProcess]:
    """Run a command of the virtual environment as a deployment's container does."""

    def run(*command: str, timeout: float = 120) -> subprocess.CompletedProcess:
        script, *arguments = command
        program = sys.executable if script == "python" else str(Path(sys.executable).parent / script)
        return subprocess.run(
            [program, *arguments],
            env=deployment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run
