"""What the folder of a run brings for OpenCode, where it must not configure it.

`OPENCODE_DISABLE_PROJECT_CONFIG` keeps the settings of the folder out, and with them instructions
and skills, which are therefore named to OpenCode one by one. Facts are those of version 1.18.
"""

from __future__ import annotations

from pathlib import Path

from executor_core.agents.repository import found

_FILES = ("opencode.json", "opencode.jsonc")
SETTINGS = (*_FILES, ".opencode")
_INSTRUCTIONS = ("AGENTS.md", "CLAUDE.md", "CONTEXT.md")


def instructions_in(folder: Path) -> list[str]:
    """What it reads by itself elsewhere: files of one of these names, the outermost first."""
    kinds = (found(folder, (name,)) for name in _INSTRUCTIONS)
    return [str(file) for file in next(filter(None, kinds), ())]


def skills_in(folder: Path) -> list[str]:
    """The folders of skills that it looks into only with the settings."""
    return [str(path) for path in found(folder, (".opencode/skill", ".opencode/skills"))]


def plugins_in(folder: Path) -> list[Path]:
    """What it executes as it starts, whatever its environment says. Blocks.

    The folders of plugins, and every configuration that may name one.
    """
    folders = found(folder, (".opencode/plugin", ".opencode/plugins"))
    files = found(folder, (*_FILES, *(f".opencode/{name}" for name in _FILES)))
    return folders + [file for file in files if _may_name_plugins(file)]


def _may_name_plugins(file: Path) -> bool:
    try:
        words = file.read_text("utf-8", "replace") if file.is_file() else ""
    except OSError:
        return True
    return "plugin" in words or "\\u" in words  # an escape may spell it
