"""A run of a video: its key, its tags, its priority, when it is tried again, and what its end means."""
