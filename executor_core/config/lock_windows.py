"""The instance lock on Windows: one byte far behind the content, so that the pid can be read."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import errno
    import msvcrt
    import os

    _FAR = 1 << 30

    def try_lock(descriptor: int) -> bool:
        """Lock the open file. False if another process has it; OSError if it cannot be locked."""
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EDEADLK):
                return False
            raise
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
        return True
