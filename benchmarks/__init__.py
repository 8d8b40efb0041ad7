"""Measurements of speed, of caption quality against ground truth, and of the platform under load."""
