"""Loading of code without collections of garbage."""

import gc

import pytest

from captionacc_dagster.platform.loading import without_collections


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_paused_and_then_as_before_even_after_an_error(enabled: bool):
    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        with pytest.raises(ImportError), without_collections():
            assert not gc.isenabled()
            raise ImportError("a module")
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()
