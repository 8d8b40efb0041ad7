"""Other tools for burned-in captions, and this one, on the same clips."""
