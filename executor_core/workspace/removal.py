"""Deletes folders that programs of others have filled: whole, and nothing but them."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path


def remove_tree(folder: Path) -> None:
    """Delete `folder` with all in it, also what is write-protected. Links are not followed.

    Raises OSError when something cannot be deleted, or if `folder` is itself a link.
    """
    if folder.is_symlink():
        raise NotADirectoryError(f"{folder} is a link")
    _unprotect(str(folder))
    for place, folders, files in os.walk(folder):
        # Folders keep what is in them when they are read-only; on Windows files do so themselves.
        for name in (*folders, *(files if os.name == "nt" else ())):
            _unprotect(os.path.join(place, name))
    try:
        shutil.rmtree(folder)
    except RecursionError as error:
        raise OSError(f"{folder} is nested too deeply") from error


def _unprotect(path: str) -> None:
    if not os.path.islink(path):
        os.chmod(path, stat.S_IRWXU)
