"""The pages for people, rendered here, with their static files beside them."""

from captionacc_dagster.web.service.pages.views import STATIC, router

__all__ = ["STATIC", "router"]
