"""Runs first in a bundle: what we start must not load the bundle's libraries.

The loader has read its variables by now, so our own program needs them no longer.
"""

# ruff: noqa: TID251 - no room of ours is loaded yet

import os

for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LIBPATH"):
    own, before = os.environ.pop(name, None), os.environ.pop(f"{name}_ORIG", None)
    if own is not None and before:
        os.environ[name] = before
