"""Comparison of two sides' results for a video, such as the former system's and this one's."""
