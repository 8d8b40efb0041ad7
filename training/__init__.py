"""The training of the bundled caption frame extents model, and everything needed to repeat it."""
