"""What MkDocs is given by the environment: newer pictures, another folder, the address of the code."""

from pathlib import Path

import markdown
import pytest
from mkdocs.config import load_config
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import get_files
from mkdocs.structure.pages import Page

from docs_site import hooks
from docs_site.links import OUTSIDE

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> MkDocsConfig:
    for name in (hooks.PICTURES, hooks.FOLDER, hooks.ADDRESS, hooks.REPOSITORY):
        monkeypatch.delenv(name, raising=False)
    config = load_config(str(REPOSITORY / "mkdocs.yml"))
    # MkDocs notes who adds a file; it sets the name when it runs a plugin or a hook.
    config.plugins._current_plugin = "hooks"
    return config


def test_pages_and_the_openapi_document_are_added(config: MkDocsConfig):
    files = hooks.on_files(get_files(config), config)
    assert {*OUTSIDE.values(), "reference/openapi.json"} <= set(files.src_uris)
    assert files.src_uris["project/changes.md"].content_string.startswith("# Changelog")


def test_pictures_of_a_test_run_replace_those_of_the_repository(config, monkeypatch, tmp_path: Path):
    pictures = sorted((REPOSITORY / "docs" / "images").glob("*.png"))
    for picture in pictures:
        (tmp_path / picture.name).write_bytes(b"new " + picture.name.encode())
    monkeypatch.setenv(hooks.PICTURES, str(tmp_path))
    files = hooks.on_files(get_files(config), config)
    for picture in pictures:
        file = files.src_uris[f"images/{picture.name}"]
        assert file.content_bytes == b"new " + picture.name.encode()
    (tmp_path / pictures[0].name).unlink()
    with pytest.raises(PluginError, match=f"no test has made {pictures[0].name}"):
        hooks.on_files(get_files(config), config)


def test_the_environment_sets_folder_address_and_links_to_code(config, monkeypatch, tmp_path: Path):
    page = Page(None, get_files(config).src_uris["reference/storage-keys.md"], config)
    text = "[keys.py](../../modal_gpu/keys.py)"
    assert hooks.on_page_markdown(text, page, config, get_files(config)) == (
        '<span title="modal_gpu/keys.py">keys.py</span>'
    )
    monkeypatch.setenv(hooks.FOLDER, str(tmp_path / "site"))
    monkeypatch.setenv(hooks.ADDRESS, "https://docs.example.com/")
    monkeypatch.setenv(hooks.REPOSITORY, "https://code.example.com/blob/abc")
    changed = hooks.on_config(config)
    assert changed.site_dir == str(tmp_path / "site")
    assert changed.site_url == "https://docs.example.com/"
    assert changed.mdx_configs["toc"]["slugify"]("A & B", "-") == "a--b"
    linked = hooks.on_page_markdown(text, page, config, get_files(config))
    assert linked == "[keys.py](https://code.example.com/blob/abc/modal_gpu/keys.py)"


def test_blocks_below_a_step_belong_to_it(config: MkDocsConfig):
    block, table = "   ```sh\n   make demo\n   ```", "   | a |\n   | --- |\n   | b |"
    steps = f"1. Do this:\n\n{block}\n\n{table}\n\n2. Then that.\n"
    config = hooks.on_config(config)
    page = markdown.markdown(
        steps, extensions=config.markdown_extensions, extension_configs=config.mdx_configs
    )
    assert (page.count("<ol>"), page.count("<li>"), page.count("<table>")) == (1, 2, 1)
    assert page.index("make") < page.index("<table>") < page.index("</li>")
