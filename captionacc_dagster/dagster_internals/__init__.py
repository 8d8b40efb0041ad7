"""What touches private names of Dagster and is more than a constant; each module says which and why."""
