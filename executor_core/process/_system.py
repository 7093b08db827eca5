"""Chooses, once, what differs between operating systems."""

import sys

if sys.platform == "win32":
    from executor_core.process import _windows as system
else:
    from executor_core.process import _posix as system

__all__ = ["system"]
