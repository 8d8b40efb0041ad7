"""Video in, frames and chunks out, with PyAV alone.

``probe`` says what a file is, ``frames`` selects frames by presentation time, ``chunks`` stores
cropped frames and reads them back, ``images`` makes JPEGs.
"""
