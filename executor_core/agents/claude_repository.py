"""What the folder of a run brings for Claude Code, where the owner does not trust its settings.

With the source `project` Claude Code (2.1.197 to 2.1.332) reads instructions and settings alike;
without it, neither. So only the user's own settings are its source, and instructions, skills,
commands and sub-agents come another way: as an additional folder, whose instructions it reads where
`VARIABLES` say so, and as a plugin.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from executor_core.agents.agent import Assignment
from executor_core.agents.repository import places, read

SETTINGS = (".claude/settings.json", ".claude/settings.local.json", ".mcp.json")
VARIABLES = {"CLAUDE_CODE_ADDITIONAL_DIRECTORIES_CLAUDE_MD": "1"}
PLUGIN = "project"
"""What skills and commands of the folder are called by: `project:NAME`."""

_KINDS = ("skills", "commands", "agents")
_MAX_NESTED = 50
_MAX_FOLDERS = 5000


def arguments(assignment: Assignment) -> list[str]:
    """The part of the command line that does it; writes the files that it names. Blocks."""
    argv = ["--setting-sources=user", f"--add-dir={assignment.folder}"]
    if words := "\n\n".join(_further_instructions(assignment.folder)):
        notes = assignment.scratch / "instructions"
        notes.mkdir(exist_ok=True)
        (notes / "CLAUDE.md").write_text(words, encoding="utf-8")
        argv += [f"--add-dir={notes}"]
    if _gathered(assignment.folder, plugin := assignment.scratch / "plugin"):
        argv += [f"--plugin-dir={plugin}"]
    return argv


def _further_instructions(folder: Path) -> Iterator[str]:
    """What Claude Code would find by itself, but not in an additional folder."""
    inner = folder.resolve()
    for place in reversed(inner.parents):
        files = [place / "CLAUDE.md", place / "CLAUDE.local.md"]
        if place in places(inner):
            files += [place / ".claude" / "CLAUDE.md", *_rules(place)]
        for file in files:
            if words := read(file):
                yield f"Instructions of {file}:\n\n{words}"
    if words := read(inner / "CLAUDE.local.md"):
        yield f"Instructions of {inner / 'CLAUDE.local.md'}:\n\n{words}"
    if nested := list(_nested(inner)):
        listed = "\n".join(f"- {file}" for file in nested)
        yield f"Before you work in a folder with a file of these, read that file:\n{listed}"


def _rules(place: Path) -> list[Path]:
    return sorted((place / ".claude" / "rules").glob("**/*.md"))[:_MAX_NESTED]


def _nested(folder: Path) -> Iterator[Path]:
    """Instructions of folders inside, which are there to be read when work comes to them."""
    count = 0
    for root, names, files in islice(os.walk(folder), _MAX_FOLDERS):
        names[:] = sorted(n for n in names if not n.startswith(".") and n != "node_modules")
        if Path(root) != folder and "CLAUDE.md" in files and count < _MAX_NESTED:
            yield Path(root, "CLAUDE.md")
            count += 1


def _gathered(folder: Path, plugin: Path) -> bool:
    """Make `plugin` hold all skills, commands and sub-agents; whether there are any.

    A plugin's sub-agents bring no hooks, tool servers or permissions of their own.
    """
    shutil.rmtree(plugin, ignore_errors=True)
    for place in reversed(places(folder)):  # of two with one name the nearer counts
        for kind in _KINDS:
            source, target = place / ".claude" / kind, plugin / kind
            for entry in sorted(source.iterdir()) if source.is_dir() else ():
                target.mkdir(parents=True, exist_ok=True)
                if not os.path.lexists(target / entry.name):
                    _bring(entry, target / entry.name)
    if not plugin.is_dir():
        return False
    manifest = plugin / ".claude-plugin" / "plugin.json"
    manifest.parent.mkdir()
    described = {"name": PLUGIN, "version": "1", "description": "What the folder brings"}
    manifest.write_text(json.dumps(described), encoding="utf-8")
    return True


def _bring(source: Path, target: Path) -> None:
    """A link for a folder, such as a skill with its scripts; Claude Code reads no linked files."""
    if source.is_dir() and target.parent.name == "skills":
        with suppress(OSError):  # Windows asks for a right to make links
            target.symlink_to(source, target_is_directory=True)
            return
    with suppress(OSError):  # what cannot be read counts for nothing
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True)
        elif source.is_file():
            shutil.copyfile(source, target)
