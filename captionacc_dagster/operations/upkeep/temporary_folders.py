"""Temporary folders of this platform's processes that died."""

import re
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from captionacc_dagster.operations.upkeep.findings import DAY_SECONDS, Finding, Workplace

#: Names of this platform's temporary folders, as :mod:`tempfile` makes them.
_NAME = re.compile(r"captionacc-(model-)?[a-z0-9_]{8}")


def temporary_folders(work: Workplace, parent: Path) -> Iterator[Finding]:
    """Remove folders below ``parent`` in which nothing has changed for ``temporary_days``."""
    oldest = time.time() - work.policy.temporary_days * DAY_SECONDS
    for folder in sorted(parent.glob("captionacc-*")):
        if not _NAME.fullmatch(folder.name) or folder.is_symlink() or not folder.is_dir():
            continue
        try:
            newest = max((path.lstat().st_mtime for path in [folder, *folder.rglob("*")]), default=0.0)
        except OSError:
            # Another process uses or removes it at this moment.
            continue
        if newest < oldest:
            detail = f"untouched since {datetime.fromtimestamp(newest, UTC):%Y-%m-%d %H:%M:%S} UTC"
            yield work.handle("temporary folder", str(folder), detail, partial(shutil.rmtree, folder))
