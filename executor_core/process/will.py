"""What is to be done when this process is killed and can do nothing any more."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

_SCRIPT = 'read -r done || "$@"'


@contextmanager
def last_will(argv: Sequence[str]) -> Iterator[None]:
    """Should this process die inside the block, a shell that waits for that runs `argv`.

    It sees the end of a pipe, which no signal prevents. Not on Windows, where the jobs of our trees
    end with us.
    """
    if sys.platform == "win32":
        yield
        return
    heir = subprocess.Popen(
        ["/bin/sh", "-c", _SCRIPT, "sh", *argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        with suppress(OSError):  # somebody killed it
            heir.communicate(b"done\n")
