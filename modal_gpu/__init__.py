"""What runs next to the media: decoding, OCR, layout, caption extents, databases.

Plain Python that knows nothing of Dagster. The same functions run inside a GPU container and,
on a laptop, inside the run's own process.
"""
