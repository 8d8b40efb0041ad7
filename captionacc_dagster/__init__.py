"""CaptionA.cc on Dagster: a video with burned-in captions goes in, timed text comes out."""
