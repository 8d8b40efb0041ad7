"""Comparison of two sides' results for a video, such as the predecessor's and this one's."""
