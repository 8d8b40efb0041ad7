"""The sample video, drawn by code, with the truth beside it."""
