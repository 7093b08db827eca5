"""The table of traps in the tests' README names tests that exist."""

from __future__ import annotations

import re

from tests.policy.code import ROOT

TESTS = ROOT / "tests"
_ROW = re.compile(r"^\| .+ \| (.+) \|$", re.MULTILINE)
_NAMED = re.compile(r"`([a-z0-9_/]+)…?`")


def traps() -> list[str]:
    """The second column of the table, row by row."""
    _, _, table = (TESTS / "README.md").read_text(encoding="utf-8").partition("## The traps")
    return _ROW.findall(table)[1:]


def test_every_trap_names_a_test_that_exists() -> None:
    paths = list(TESTS.rglob("test_*.py"))
    files = {path.stem for path in paths}
    tests = " ".join(path.read_text(encoding="utf-8") for path in paths)
    missing = [
        name
        for row in traps()
        for name in _NAMED.findall(row)
        if name.rpartition("/")[2] not in files and f"def test_{name}" not in tests
    ]
    assert missing == []
    assert len(traps()) > 40
