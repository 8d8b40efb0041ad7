"""Processing of videos: decoding, OCR, layout, caption extents, databases.

It imports nothing of Dagster. The same functions run in a GPU container and, without Modal, in the Dagster
run's process.
"""
