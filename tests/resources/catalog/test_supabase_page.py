"""docs/how-to/supabase.md: a user's first approval with curl, through Supabase's API."""

import json
import os
import subprocess

import pytest

from tests.docs_site.recipes import HOW_TO, commands
from tests.postgrest.server import make_key

(PAGE,) = [page.read_text() for page in HOW_TO if page.stem == "supabase"]
USER = "22222222-2222-4222-8222-222222222222"


@pytest.fixture
def catalog(postgres_catalog):
    """One transport: the contract is tested elsewhere."""
    return postgres_catalog


@pytest.mark.system("curl")
def test_the_first_approval_of_the_page_is_the_users(catalog, videos, tenant, postgrest, database):
    database.execute(
        "select captionacc.set_user_profile(%s, %s, 'owner', 'approved')", [USER, tenant.tenant_id]
    )
    video = videos.laid_out()
    (command,) = [line for line in commands(PAGE) if line.startswith("curl ")]
    environment = {
        "PATH": os.environ["PATH"],
        "SUPABASE_URL": postgrest.url,
        "PUBLISHABLE_KEY": make_key("anon"),
        "TOKEN": make_key("authenticated", USER),
        "VIDEO": video.video_id,
    }
    done = subprocess.run(
        ["bash", "-ec", command], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ok"] is True
    approved = catalog.get_video(video.video_id)
    assert approved.layout.status == "done" and approved.layout_approved_by == USER
