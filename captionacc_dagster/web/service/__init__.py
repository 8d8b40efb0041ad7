"""The HTTP service, ``captionacc serve``: the API, live events, the webhook and the review page.

It writes only through the catalogue's functions and under its locks. :func:`.app.create_app` builds it.
"""
