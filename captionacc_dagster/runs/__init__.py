"""The platform's view of a run: its key, tags, priority, retries, progress and outcome."""
