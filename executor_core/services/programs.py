"""Our own programs side by side, and whether there is a desktop to show one on."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path

PROGRAM = "wegent-executor"
DESKTOP_PROGRAM = "wegent-executor-desktop"


def sibling(name: str) -> Path:
    """A program of ours where an installation put it; where none did, beside the interpreter."""
    file = name + (".exe" if sys.platform == "win32" else "")
    beside = Path(sys.executable).with_name(file)
    if getattr(sys, "frozen", False):
        return beside
    places = (folder / file for folder in (beside.parent, *_script_folders()))
    return next((place for place in places if place.is_file()), beside)


def _script_folders() -> Iterator[Path]:
    """Where installers put scripts, nearest first. `pip install --user` has folders of its own.

    Nothing relative: a task's folder must not decide what we start.
    """
    if os.path.isabs(sys.argv[0]):
        yield Path(sys.argv[0]).parent
    preferred = [sysconfig.get_preferred_scheme(key) for key in ("prefix", "user")]
    for scheme in dict.fromkeys((*preferred, *sysconfig.get_scheme_names())):
        yield Path(sysconfig.get_path("scripts", scheme))
    yield from (Path(folder) for folder in os.get_exec_path() if os.path.isabs(folder))


def has_display(environment: Mapping[str, str]) -> bool:
    """Whether there is a desktop at all."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))
