"""The page about the architecture names only what is there, and imports stay a small part."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.policy.code import ROOT, python_files, tree

PAGE = ROOT / "executor_core" / "ARCHITECTURE.md"
PATH = re.compile(r"`((?:desktop|executor_core|packaging|resources|tests)/[\w./-]*)`")
MOST_LINES = 200
MOST_IMPORTS = 0.111
"""The share of import lines in executor_core that was reached; it may only fall."""


def paths_in(page: str) -> list[str]:
    """Every path from the top of the repository that a page names as code."""
    return PATH.findall(page)


def test_every_path_that_the_architecture_names_exists() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert len(paths_in(page)) > 30
    assert [path for path in paths_in(page) if not (ROOT / path).exists()] == []
    assert len(page.splitlines()) <= MOST_LINES


def test_a_path_is_found_in_prose_and_tables() -> None:
    page = "See `executor_core/nowhere.py`, not `Executor`.\n| x | `resources/help/` |"
    assert paths_in(page) == ["executor_core/nowhere.py", "resources/help/"]


def lines_of(node: ast.stmt) -> set[int]:
    return set(range(node.lineno, (node.end_lineno or node.lineno) + 1))


def docstring_of(node: ast.AST) -> set[int]:
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return set()
    return lines_of(node.body[0]) if ast.get_docstring(node, clean=False) is not None else set()


def counted(path: Path) -> tuple[int, int]:
    """The lines of imports of a file, and its lines of code: neither blank nor docstring."""
    imported: set[int] = set()
    said: set[int] = set()
    for node in ast.walk(tree(path)):
        said |= docstring_of(node)
        if isinstance(node, ast.Import | ast.ImportFrom):
            imported |= lines_of(node)
    text = (ROOT / path).read_text(encoding="utf-8").splitlines()
    code = {number for number, line in enumerate(text, 1) if line.strip()} - said
    return len(imported), len(code)


def test_imports_are_a_small_part_of_the_code() -> None:
    counts = [counted(path) for path in python_files("executor_core")]
    share = sum(one for one, _ in counts) / sum(code for _, code in counts)
    print(f"imports: {share:.1%} of the lines of executor_core")
    assert share <= MOST_IMPORTS
