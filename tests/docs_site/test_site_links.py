"""Links of the site: pages of the repository find each other there, and code is linked or named."""

import pytest

from docs_site.links import OUTSIDE, ROOT, repository_path, site_path, with_site_links

CODE = "https://github.com/owner/repository/blob/abc"


@pytest.mark.parametrize(
    ("page", "link", "expected"),
    [
        ("index.md", "tutorial.md", "tutorial.md"),
        ("index.md", "../deploy/README.md#upgrading", "how-to/deploying.md#upgrading"),
        ("how-to/deploying.md", "../docs/how-to/operations.md", "operations.md"),
        (
            "project/contributing.md",
            "docs/explanation/architecture.md#floors",
            "../explanation/architecture.md#floors",
        ),
        ("explanation/decisions/leases.md", "../../../benchmarks/RESULTS.md", "../results.md"),
        ("explanation/decisions/leases.md", "../../how-to/operations.md", "../../how-to/operations.md"),
        ("reference/review.md", "../images/review-captions.png", "../images/review-captions.png"),
        ("project/changes.md", "README.md", "../index.md"),
        ("how-to/editing.md", "#single-captions", "#single-captions"),
        ("how-to/modal.md", "https://modal.com", "https://modal.com"),
    ],
)
def test_a_link_leads_to_the_page_in_the_site(page: str, link: str, expected: str):
    assert with_site_links(f"see [a *page*]({link}).", page) == f"see [a *page*]({expected})."


def test_code_is_linked_where_the_repository_has_an_address_and_named_where_not():
    text = "[keys.py](../../modal_gpu/keys.py) and [`cli`](../../captionacc_dagster/cli)"
    linked = with_site_links(text, "reference/storage-keys.md", CODE)
    assert linked == f"[keys.py]({CODE}/modal_gpu/keys.py) and [`cli`]({CODE}/captionacc_dagster/cli)"
    named = with_site_links(text, "reference/storage-keys.md")
    assert named.startswith('<span title="modal_gpu/keys.py">keys.py</span> and ') and "](" not in named


def test_links_in_code_and_to_nothing_are_left_for_mkdocs():
    fenced = "```sh\n[a](../deploy/README.md)\n```\n"
    assert with_site_links(fenced, "index.md") == fenced
    assert with_site_links("[a](nothing.md)", "index.md") == "[a](nothing.md)"


def test_every_page_outside_docs_exists_and_has_a_place_of_its_own():
    assert all((ROOT / path).is_file() for path in OUTSIDE)
    assert len(set(OUTSIDE.values())) == len(OUTSIDE)
    for path, there in OUTSIDE.items():
        assert repository_path(there) == path and site_path(path) == there
        assert not (ROOT / "docs" / there).exists()
