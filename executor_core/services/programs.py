"""Our own programs side by side, and whether there is a desktop to show one on."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

PROGRAM = "wegent-executor"
DESKTOP_PROGRAM = "wegent-executor-desktop"


def sibling(name: str) -> Path:
    """A program that is installed beside this one or as `pip install --user` does, or would be."""
    file = name + (".exe" if sys.platform == "win32" else "")
    beside = Path(sys.executable).with_name(file)
    if getattr(sys, "frozen", False) or beside.is_file():
        return beside
    of_user = Path(sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user"))) / file
    return of_user if of_user.is_file() else beside


def has_display(environment: Mapping[str, str]) -> bool:
    """Whether there is a desktop at all."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))
