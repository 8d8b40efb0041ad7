"""Dagster's resources: the catalogue, the object store, and where the heavy functions run."""
