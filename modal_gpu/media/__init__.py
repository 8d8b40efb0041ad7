"""Video decoding and encoding, with PyAV only.

``probe`` reads a file's properties, ``frames`` selects frames by presentation time, ``chunks`` stores
cropped frames and reads them back, ``images`` encodes and decodes JPEGs.
"""
