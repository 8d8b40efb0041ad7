"""The functions that MkDocs calls while it builds the site (``hooks`` in ``mkdocs.yml``)."""

import os
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pymdownx.slugs import slugify

from docs_site.generated import with_parts
from docs_site.links import OUTSIDE, ROOT, with_site_links
from docs_site.lists import ThreeColumns
from docs_site.routes import DOCUMENT, document

#: A folder with pictures that the browser tests have just written; they replace those of ``docs/images``.
PICTURES = "CAPTIONACC_DOCS_IMAGES"
#: Another folder for the site, its address, and where links to the code lead, such as
#: ``https://github.com/OWNER/REPOSITORY/blob/COMMIT``.
FOLDER, ADDRESS, REPOSITORY = "CAPTIONACC_SITE", "CAPTIONACC_SITE_URL", "CAPTIONACC_REPOSITORY_URL"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Take what depends on the environment, and read headings and lists as GitHub does."""
    if folder := os.environ.get(FOLDER):
        config.site_dir = str(Path(folder).resolve())
    config.site_url = os.environ.get(ADDRESS) or config.site_url
    config.mdx_configs["toc"]["slugify"] = slugify(case="lower")
    # First, because it discards what others have registered.
    config.markdown_extensions.insert(0, ThreeColumns())
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in ``docs/``, the OpenAPI document, and the pictures of a test run."""
    for path, there in OUTSIDE.items():
        files.append(File.generated(config, there, abs_src_path=str(ROOT / path)))
    files.append(File.generated(config, f"reference/{DOCUMENT}", content=document()))
    if folder := os.environ.get(PICTURES):
        _replace_pictures(files, config, Path(folder))
    return files


def _replace_pictures(files: Files, config: MkDocsConfig, folder: Path) -> None:
    """Take the pictures from a folder. Raises an error for one that the tests have not made."""
    for file in [file for file in files.media_files() if file.src_uri.startswith("images/")]:
        picture = folder.resolve() / Path(file.src_uri).name
        if not picture.is_file():
            raise PluginError(f"{PICTURES}: no test has made {picture.name}, which docs/images has")
        files.remove(file)
        files.append(File.generated(config, file.src_uri, abs_src_path=str(picture)))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Make a page's links lead to the site, and put the generated parts in."""
    linked = with_site_links(markdown, page.file.src_uri, os.environ.get(REPOSITORY, ""))
    return with_parts(linked)
