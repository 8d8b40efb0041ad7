"""A fuzzer for uploads and for objects read from a bucket: ``make fuzz``.

Small files of many kinds are damaged where it hurts (sizes, time stamps, tags, rows) and go through the first
stages, each in a process that may crash, hang or run out of memory without harm. The mutator is seeded and
knows the containers' structure; a coverage-guided fuzzer would spend its time in FFmpeg's and SQLite's code,
which is not what is tested here, and hypothesis would shrink files of kilobytes byte by byte.
"""
