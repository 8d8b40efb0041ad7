"""Pictures of a video for the Dagster UI: what they show, and where they are stored.

The UI shows Markdown in an event's metadata only if it is short (:data:`links.INLINE_LENGTH`), and hides
longer texts behind a link. So an event holds the address of a picture, and the picture is in the bucket.
"""
