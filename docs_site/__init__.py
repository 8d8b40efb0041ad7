"""The documentation's site: what MkDocs needs besides ``docs/``.

``make docs`` builds it. :mod:`docs_site.hooks` is called by MkDocs: it takes in the pages that are not in
``docs/``, and puts reference tables that are made from the code into the pages that ask for them.
"""
