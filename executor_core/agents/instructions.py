"""The instructions of a repository that Claude Code does not read by itself."""

from __future__ import annotations

import os
from pathlib import Path

MAX_BYTES = 100_000
READS_IT = (2, 1, 277)
"""From here on it reads `AGENTS.md` where there is no `CLAUDE.md`, but in no other spelling."""

_OWN = ("CLAUDE.md", "CLAUDE.local.md", ".claude/CLAUDE.md")


def unread_instructions(folder: Path, version: tuple[int, ...]) -> str:
    """What `AGENTS.md` in `folder` says, also spelt in another case; empty where the CLI of this
    version reads it, where it has instructions of its own, and for a link that leads out. Blocking.
    """
    try:
        if any((folder / name).exists() for name in _OWN):
            return ""
        found = sorted(name for name in os.listdir(folder) if name.lower() == "agents.md")
        if not found or ("AGENTS.md" in found and version >= READS_IT):
            return ""
        path = (folder / found[0]).resolve()
        if not path.is_relative_to(folder.resolve()) or not path.is_file():
            return ""
        with path.open("rb") as file:
            words = file.read(MAX_BYTES).decode("utf-8", "replace").strip()
    except (OSError, RuntimeError):  # a run does not fail for what it would also do without
        return ""
    return f"Instructions of this project, from {found[0]}:\n\n{words}" if words else ""
