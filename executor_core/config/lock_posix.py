"""The instance lock on POSIX: `flock`, which belongs to the open file and not to its name."""

from __future__ import annotations

import fcntl


def try_lock(descriptor: int) -> bool:
    """Lock the open file. False if another process has it; OSError if the file cannot be locked."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
