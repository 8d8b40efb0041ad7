"""Captions: their ranges, their text, and subtitle files."""
