"""Our own programs side by side, and whether there is a desktop to show one on."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

PROGRAM = "wegent-executor"
DESKTOP_PROGRAM = "wegent-executor-desktop"


def sibling(name: str) -> Path:
    """A program that is installed beside this one, or would be."""
    return Path(sys.executable).with_name(name + (".exe" if sys.platform == "win32" else ""))


def has_display(environment: Mapping[str, str]) -> bool:
    """Whether there is a desktop at all."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))
