"""Where a video's captions stand, learned from the text in its full frames."""
