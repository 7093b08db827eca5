"""What the folder of a run brings for its agent, beside the work itself.

Instructions always count. Settings, hooks, plugins and tool servers act before any model is asked,
and one of them can send a key elsewhere: they count only where the owner trusts the folder.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from executor_core.agents.agent import Assignment
from executor_core.agents.failures import notice
from executor_core.errors import ExecutorError
from executor_core.model import Notice

MAX_INSTRUCTIONS = 32_768
"""Bytes in all that are handed over of a folder's instructions: as much as Codex itself reads."""
_MAX_NAMED = 5


def places(folder: Path) -> tuple[Path, ...]:
    """The folders that may speak for `folder`: from the top of its repository down to itself."""
    folder = folder.resolve()
    for number, place in enumerate((folder, *folder.parents)):
        if os.path.lexists(place / ".git"):
            return (*reversed(folder.parents[:number]), folder)
    return (folder,)


def found(folder: Path, names: Iterable[str]) -> list[Path]:
    """Which of the files and folders `names` there are in the `places` of `folder`."""
    names = tuple(names)
    return [
        place / name for place in places(folder) for name in names if os.path.lexists(place / name)
    ]


def withheld(assignment: Assignment, agent: str, names: Iterable[str]) -> Iterator[Notice]:
    """Tells which settings of the folder do not count, if there are any."""
    if not assignment.is_trusted and (files := found(assignment.folder, names)):
        yield notice("notice.settings_withheld", **_named(assignment.folder, agent, files))


def refuse(assignment: Assignment, agent: str, files: Iterable[Path]) -> None:
    """Raise ExecutorError for files that nothing keeps `agent` from obeying."""
    if not assignment.is_trusted and (files := list(files)):
        raise ExecutorError("folder_has_settings", **_named(assignment.folder, agent, files))


def _named(folder: Path, agent: str, files: list[Path]) -> dict[str, Any]:
    shown = [os.path.relpath(file, folder.resolve()) for file in files[:_MAX_NAMED]]
    more = ["…"] if len(files) > _MAX_NAMED else []
    return {"agent": agent, "files": ", ".join(shown + more), "path": shlex.quote(str(folder))}


def instructions(folder: Path, names: Iterable[str]) -> str:
    """The text of the first of `names` in each of the `places` of `folder`, outermost first."""
    names = tuple(names)
    parts, left = [], MAX_INSTRUCTIONS
    for place in places(folder):
        file, words = next(
            ((place / n, w) for n in names if (w := read(place / n, left))), ("", "")
        )
        if words:
            parts.append(f"# Instructions of {file}\n\n{words}")
            left -= len(words.encode())
    return "\n\n".join(parts)


def read(file: Path, limit: int = MAX_INSTRUCTIONS) -> str:
    """The beginning of a text file; "" for what is none, or lies elsewhere behind a link."""
    try:
        if not file.resolve().is_relative_to(places(file.parent)[0]):
            return ""
        # Without waiting: a pipe in its place would hold the run for ever.
        descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with open(descriptor, "rb") as source:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return ""
            return source.read(max(limit, 0)).decode(errors="replace").strip()
    except (OSError, RuntimeError):  # a loop of links, before Python 3.13
        return ""
