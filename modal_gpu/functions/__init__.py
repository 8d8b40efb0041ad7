"""The three functions of the GPU containers. Without Modal they run in the Dagster run's process."""
