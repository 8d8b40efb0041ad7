"""Captions as people burn them in, a rendered clip for each situation, with its exact truth."""
