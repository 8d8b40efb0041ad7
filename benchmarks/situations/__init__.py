"""Captions in the styles that people use: a rendered clip for each situation, with its exact truth."""
