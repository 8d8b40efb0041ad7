"""Adoption of the videos of CaptionA.cc's predecessor, the platform on Prefect.

The predecessor keeps rows in PostgreSQL and files in a bucket; both are only read, and stay as they are.

* Reading: :mod:`predecessor` opens both; :mod:`rows` and :mod:`files` have their content as typed values,
  with defaults where columns are missing; :mod:`old_captions`, :mod:`old_layout`, :mod:`old_ocr` and
  :mod:`old_extents` convert its SQLite files to this platform's types.
* Deciding: :mod:`plan` says of each video what is taken over, converted, made again by a run, or refused.
* Doing: :mod:`apply` writes this platform's bucket, catalogue and Dagster's events.
* Going back: :mod:`export` writes captions and layout in the predecessor's schema.
"""
