"""Reading text in images: one protocol, one engine, one worker pool."""
