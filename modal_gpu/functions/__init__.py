"""The three functions that a GPU container runs; on a laptop they run in the run's own process."""
