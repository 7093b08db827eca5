"""How many files and connections this process may have open at once."""

from __future__ import annotations

import sys
from contextlib import suppress

MOST = 8192
"""Enough for all we do. Programs that we start inherit it, and some close every number up to it."""

if sys.platform == "win32":

    def limit() -> int:
        """How many the system allows."""
        return MOST

    def raise_limit() -> None:
        """Nothing keeps a process there from as many."""

else:
    import resource

    def limit() -> int:
        """How many the system allows."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return _bounded(soft)

    def raise_limit() -> None:
        """Allow ourselves what the system lets us have: often a hard limit far above the soft."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if _bounded(soft) < _bounded(hard):
            with suppress(ValueError, OSError):  # the present one is good for everyday work
                resource.setrlimit(resource.RLIMIT_NOFILE, (_bounded(hard), hard))

    def _bounded(count: int) -> int:
        return MOST if count == resource.RLIM_INFINITY else min(count, MOST)
