"""The synthetic predecessor of the adoption's tests."""

from tests.adoption.conftest import adoption, planner, predecessor, world  # noqa: F401
