"""Further routes of Dagster's web server, under its own address and whatever protects it.

The web server has no setting for that. But it tells the instance when it starts
(``DagsterInstance.optimize_for_webserver``), and ``dagster.yaml`` may name a class for the instance, as
Dagster+ does. The class then wraps ``DagsterWebserver.build_routes``, in the web server's process only. After
a release that renames it the web server does not start; ``tests/web/test_ui_pictures.py`` sees that.
"""

import sys
from collections.abc import Mapping, Sequence
from functools import wraps
from typing import Any

import dagster as dg
from dagster._core.instance.ref import InstanceRef

_WEB_SERVER = "dagster_webserver.webserver"


class RoutedInstance(dg.DagsterInstance):
    """An instance whose web server answers further routes; to be derived from."""

    @classmethod
    def config_schema(cls) -> Mapping[str, Any]:
        """Return no further settings for ``dagster.yaml``."""
        return {}

    @staticmethod
    def config_defaults(base_dir: str) -> Mapping[str, Any]:
        """Return Dagster's defaults."""
        return InstanceRef.config_defaults(base_dir)

    def routes(self) -> Sequence[Any]:
        """Return Starlette's routes; called in the web server's process only."""
        return []

    def optimize_for_webserver(self, *args: Any, **kwargs: Any) -> None:
        """Prepare the instance for the web server, which calls this before it builds its routes."""
        super().optimize_for_webserver(*args, **kwargs)
        if _WEB_SERVER in sys.modules:
            add_routes(self.routes())


def add_routes(routes: Sequence[Any]) -> None:
    """Let the web server of this process answer ``routes`` before its own. Safe to repeat.

    With a path prefix they are there with the prefix and without it, because addresses in stored events have
    none.
    """
    from dagster_webserver.webserver import DagsterWebserver
    from starlette.routing import Route

    original = DagsterWebserver.build_routes
    if hasattr(original, "routes"):
        return

    @wraps(original)
    def build_routes(self: Any) -> list[Any]:
        # Not a Mount of the prefix: it would answer for all of the UI below it.
        prefixes = {"", self._app_path_prefix}
        ours = [Route(prefix + route.path, route.endpoint) for prefix in prefixes for route in routes]
        return [*ours, *original(self)]  # type: ignore[no-untyped-call]

    vars(build_routes)["routes"] = routes
    setattr(DagsterWebserver, original.__name__, build_routes)
