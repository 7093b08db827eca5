"""The instructions of a repository that Claude Code does not read by itself."""

from __future__ import annotations

import os
from pathlib import Path

from executor_core.agents.repository import places, read

READS_IT = (2, 1, 277)
"""From here on it reads `AGENTS.md` where there is no `CLAUDE.md`, but in no other spelling, and
only with the settings of the folder."""

_OWN = ("CLAUDE.md", "CLAUDE.local.md", ".claude/CLAUDE.md")


def unread_instructions(folder: Path, *, reads_it: bool) -> str:
    """What `AGENTS.md` says, also spelt in another case, in `folder` and up to the top of its
    repository; without those that have instructions of Claude Code's own beside them, those that it
    reads itself (`reads_it`), and links that lead out. Blocking.
    """
    return "\n\n".join(filter(None, (_unread(place, reads_it) for place in places(folder))))


def _unread(place: Path, reads_it: bool) -> str:
    try:
        names = sorted(os.listdir(place))
    except OSError:  # a run does not fail for what it would also do without
        return ""
    found = [name for name in names if name.lower() == "agents.md"]
    if not found or (reads_it and "AGENTS.md" in found):
        return ""
    if any((place / name).exists() for name in _OWN):
        return ""
    words = read(place / found[0])
    return f"Instructions of this project, from {place / found[0]}:\n\n{words}" if words else ""
