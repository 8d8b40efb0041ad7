"""The pages for people, rendered here, with their static files beside them."""

from pathlib import Path

from fastapi import APIRouter

#: Files that are served under ``/static``.
STATIC = Path(__file__).parent / "static"

router = APIRouter(include_in_schema=False)
