"""Syntax trees of source files, for the tests that read code."""

import ast
import gc
from functools import cache
from pathlib import Path


@cache
def source_tree(path: Path) -> ast.Module:
    """Parse a file, once.

    Python 3.11's parser can fail with ``SystemError: AST constructor recursion depth mismatch`` if a garbage
    collection runs finalizers meanwhile (https://github.com/python/cpython/issues/106905).
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(path.read_text("utf-8"), str(path))
    finally:
        if was_enabled:
            gc.enable()
