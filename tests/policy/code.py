"""The repository as text and syntax trees, for the tests of this folder."""

from __future__ import annotations

import ast
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@cache
def repository_files() -> tuple[Path, ...]:
    """Every file that git tracks or would add, relative to the repository; sorted."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    names = listed.stdout.decode().split("\0")
    return tuple(sorted({Path(name) for name in names if name and (ROOT / name).is_file()}))


@cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of one Python file of the repository."""
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), filename=str(path))


def python_files(*folders: str) -> tuple[Path, ...]:
    """The Python files below these folders of the repository."""
    return tuple(
        path for path in repository_files() if path.suffix == ".py" and path.parts[0] in folders
    )


@dataclass(frozen=True)
class Import:
    """One import statement: who imports which module, absolutely named."""

    path: Path
    line: int
    module: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line} imports {self.module}"


def imports(path: Path) -> tuple[Import, ...]:
    """Every import of a file, also those inside functions and under TYPE_CHECKING.

    `from a import b` counts as `a.b`: whether b is a module cannot be told, and need not be.
    """
    found: list[Import] = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found += [Import(path, node.lineno, name.name) for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(path, node)
            found += [Import(path, node.lineno, f"{base}.{name.name}") for name in node.names]
    return tuple(found)


def _absolute(path: Path, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = path.parent.parts[: len(path.parent.parts) - node.level + 1]
    return ".".join((*package, *([node.module] if node.module else [])))
