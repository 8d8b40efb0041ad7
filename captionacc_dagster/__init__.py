"""CaptionA.cc on Dagster: a video with burned-in captions goes in, timed text comes out."""

#: The version of the package, read by the build (``[tool.hatch.version]``) and by ``captionacc --version``.
__version__ = "1.0.0"
