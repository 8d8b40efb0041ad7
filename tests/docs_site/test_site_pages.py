"""Pages against the code: tags, defaults of settings, pictures, and a build that notices what is broken."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import AliasChoices

from captionacc_dagster.runs import tags
from captionacc_dagster.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"


def test_the_page_of_run_tags_has_their_names():
    page = (DOCS / "reference" / "run-tags.md").read_text()
    names = {
        *(tags.TENANT, tags.VIDEO, tags.TIER, tags.TRIGGER, tags.EVENT, tags.PRIORITY, tags.AGE_BOOSTING),
        *(tags.TENANT_ID, tags.VIDEO_ID, tags.TENANT_JOB, tags.UNAGED, tags.WAITING_SINCE),
        *(tags.BACKFILL_TAG, tags.AGAIN_TAG, tags.PARTITION, tags.QUEUE_PRIORITY),
    }
    assert [name for name in names if f"`{name}`" not in page] == []


def _plain_defaults() -> dict[str, str]:
    """Return the defaults of settings that are a number, a word or a truth value."""
    found = {}
    for field in Settings.model_fields.values():
        alias = field.validation_alias or field.alias
        name = alias.choices[0] if isinstance(alias, AliasChoices) else alias
        if isinstance(field.default, bool):
            found[str(name)] = str(field.default).lower()
        elif isinstance(field.default, int | float | str) and field.default not in ("", 0):
            found[str(name)] = (
                f"{field.default:g}" if isinstance(field.default, float) else str(field.default)
            )
    return found


def test_defaults_on_the_page_of_settings_are_the_codes():
    page = (DOCS / "reference" / "settings.md").read_text()
    defaults, compared = _plain_defaults(), 0
    for names, shown in re.findall(r"^\| (`[A-Z][^|]*) \| ([^|]+) \|", page, re.MULTILINE):
        values = re.findall(r"`([^`]+)`", shown)
        for name, value in zip(re.findall(r"`([A-Z_0-9]+)`", names), values, strict=False):
            if name in defaults:
                assert value == defaults[name], name
                compared += 1
    assert compared > 25


def test_every_picture_is_made_by_a_test_and_shown_by_a_page():
    pictures = {picture.stem for picture in (DOCS / "images").glob("*.png")}
    tests = "".join(file.read_text() for file in (REPOSITORY / "tests" / "browser").glob("*.py"))
    made = {name for call in re.findall(r"docs=(.*)", tests) for name in re.findall(r'"([\w-]+)"', call)}
    pages = [REPOSITORY / "README.md", *DOCS.rglob("*.md")]
    shown = {name for page in pages for name in re.findall(r"images/([\w-]+)\.png", page.read_text())}
    assert pictures == shown and pictures <= made


def test_every_page_is_in_the_navigation():
    config = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text())
    named = set(re.findall(r"[\w/-]+\.md", yaml.safe_dump(config["nav"])))
    from docs_site.links import OUTSIDE

    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")} | set(OUTSIDE.values())
    assert named == pages


@pytest.mark.slow
@pytest.mark.parametrize(
    "broken", ["[a](#nowhere)", "[a](gone.md)", "[a](other.md#nowhere)", "![a](gone.png)"]
)
def test_a_build_with_a_broken_link_fails(tmp_path: Path, broken: str):
    config = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text())
    del config["nav"], config["hooks"], config["extra_css"]
    config |= {"docs_dir": "pages", "site_dir": "site"}
    (tmp_path / "pages").mkdir()
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(config))
    (tmp_path / "pages" / "other.md").write_text("# Other\n")
    (tmp_path / "pages" / "index.md").write_text("# Page\n\n[a](other.md#other)\n")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    assert subprocess.run(build, cwd=tmp_path, capture_output=True).returncode == 0
    (tmp_path / "pages" / "index.md").write_text(f"# Page\n\n{broken}\n")
    done = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0 and "WARNING" in done.stdout + done.stderr
