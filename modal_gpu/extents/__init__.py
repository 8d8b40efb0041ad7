"""Caption extents: from cropped strips to the frame ranges of captions."""
