"""The folders of runs that have ended, which are kept as long as somebody may ask for them.

Events and patches are kept of many runs; what it takes to undo one is large and kept of the latest.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Collection, Sequence
from pathlib import Path

from executor_core.workspace.changes import STORE
from executor_core.workspace.files import remove_tree

_log = logging.getLogger("executor.executor")

MAX_FOLDERS = 1_000
"""So many of the newest runs that were delivered keep their folder."""
MAX_SNAPSHOT_BYTES = 2 * 2**30
"""Of these, the newest keep what can undo them, as long as it takes no more together."""
UNKNOWN_AFTER_S = 30 * 24 * 3600.0
"""A folder that the journal does not know may be all that is left of a damaged one."""
_BLOCK = 4096


def tidy(runs: Path, settled: Sequence[str], others: Collection[str], now: float) -> None:
    """Delete what is over the bounds below `runs`. Blocks.

    `settled` are the runs that were delivered, newest first; nothing is deleted of `others`. `now`
    is in seconds since the epoch.
    """
    room, names = MAX_SNAPSHOT_BYTES, _names(runs)
    for position, run_id in enumerate(settled):
        if run_id not in names:
            continue  # most of what the journal knows lost its folder long ago
        if position >= MAX_FOLDERS:
            _remove(runs / run_id)
        elif (room := room - _size(runs / run_id / STORE)) < 0:
            _remove(runs / run_id / STORE)
    for name in names - {*settled, *others}:
        with contextlib.suppress(FileNotFoundError):
            if now - (runs / name).lstat().st_mtime > UNKNOWN_AFTER_S:
                _remove(runs / name)


def _names(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except OSError:  # nothing has run yet, or it is no folder
        return set()


def _size(folder: Path) -> int:
    """What the files below it take of the disk, in bytes; 0 where there is none."""
    size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # git works with files that come and go
                # Its objects are many and small, and each takes whole blocks.
                size += -(-os.lstat(os.path.join(place, name)).st_size // _BLOCK) * _BLOCK
    return size


def _remove(folder: Path) -> None:
    try:
        remove_tree(folder)
    except FileNotFoundError:
        pass
    except OSError as error:
        _log.warning("the files of an old run cannot be deleted: %s", error)
