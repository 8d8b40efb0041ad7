"""The page of licenses: current, and clear about every package."""

import importlib.metadata
from email.message import Message
from pathlib import Path

import pytest
import rapidocr

from deploy import licenses
from modal_gpu.extents.checkpoint import MODELS

PAGE = licenses.PAGE.read_text()


def test_the_page_lists_what_is_locked():
    assert licenses.page(PAGE) == PAGE, "out of date: run python deploy/licenses.py"


def test_every_license_is_an_spdx_expression():
    from license_expression import get_spdx_licensing

    spdx = get_spdx_licensing()
    assert spdx.validate("Apache 2").errors
    found = {row.name: spdx.validate(row.license).errors for row in licenses.rows()}
    assert len(found) > 100 and {name: errors for name, errors in found.items() if errors} == {}


def test_a_package_that_states_nothing_has_to_be_read(monkeypatch):
    monkeypatch.setattr(licenses, "metadata", lambda name: Message())
    with pytest.raises(ValueError, match="obscure: read its license"):
        licenses.license_of("obscure")


def test_nothing_is_read_by_hand_that_packages_state_as_an_expression():
    for name in licenses.READ:
        try:
            found = importlib.metadata.metadata(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        assert "License-Expression" not in found, name


def test_the_page_names_the_models_that_are_shipped():
    shipped = {path.name.partition("_")[0] for path in MODELS.glob("*.onnx")}
    assert shipped and all(f"| `{name}` |" in PAGE for name in shipped)
    (folder,) = rapidocr.__path__
    bundled = {path.stem for path in Path(folder, "models").glob("*.onnx")}
    assert bundled and all(f"`{name}`" in PAGE for name in bundled)
