"""The line over Modal's stand-in and the command line, shared with the tests of those."""

from tests.cli.conftest import captionacc  # noqa: F401
from tests.resources.compute.test_modal_graph import modal_line  # noqa: F401
