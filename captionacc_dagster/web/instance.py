"""Dagster's instance, whose web server also serves the pictures in the events' metadata.

``dagster.yaml`` names the class, so that ``dagster-webserver`` and ``dagster dev`` serve them as well::

    instance_class:
      module: captionacc_dagster.web.instance
      class: PlatformInstance

Every process of Dagster loads this module.
"""

from collections.abc import Sequence
from typing import Any

from captionacc_dagster.dagster_internals.web_routes import RoutedInstance


class PlatformInstance(RoutedInstance):
    """Dagster's own instance, except for the routes of its web server."""

    def routes(self) -> Sequence[Any]:
        """Return the route of the pictures."""
        from captionacc_dagster.web.pictures import picture_routes

        return picture_routes()
