"""What holds for the windows: no nested loops, and every visible string from the catalogue."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.policy.code import python_files, tree

NESTED_LOOPS = {"exec", "exec_", "processEvents"}
"""Inside a coroutine each of these runs other jobs in the middle of this one, and they die."""
ITEMS_OF_QT = {"QStandardItem", "QStandardItemModel"}
"""Qt deletes such items without Python's knowledge; what comes to lie where one was, an event for
instance, is then taken for it, and the process ends."""
# Where a string is seen by people: the first argument of these methods and classes.
SHOWN_BY = {
    "QAction", "QCheckBox", "QGroupBox", "QLabel", "QPushButton", "QRadioButton", "addAction",
    "addButton", "addMenu", "addTab", "setAccessibleDescription", "setAccessibleName",
    "setInformativeText", "setPlaceholderText", "setStatusTip", "setText", "setTitle",
    "setToolTip", "setWindowTitle", "setWhatsThis",
}  # fmt: skip


def nested_loops(module: ast.Module, path: Path) -> Iterator[str]:
    for function in ast.walk(module):
        if not isinstance(function, ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and _name(node.func) in NESTED_LOOPS:
                yield f"{path}:{node.lineno} {_name(node.func)} in a coroutine"


def items_of_qt(module: ast.Module, path: Path) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.ImportFrom):
            for name in ITEMS_OF_QT.intersection(alias.name for alias in node.names):
                yield f"{path}:{node.lineno} {name}"


def literal_words(module: ast.Module, path: Path) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and _name(node.func) in SHOWN_BY:
            for word in filter(None, map(_letters, node.args)):
                yield f"{path}:{node.lineno} shows {word!r}, which is in no catalogue"


def _letters(argument: ast.expr) -> str | None:
    """The literal words of an argument, if it has any."""
    parts = argument.values if isinstance(argument, ast.JoinedStr) else [argument]
    words = [part.value for part in parts if isinstance(part, ast.Constant)]
    return next((word for word in words if isinstance(word, str) and _has_letter(word)), None)


def _has_letter(word: str) -> bool:
    return any(letter.isalpha() for letter in word)


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def test_no_item_is_held_that_qt_deletes_by_itself() -> None:
    found = [one for path in python_files("desktop") for one in items_of_qt(tree(path), path)]
    assert not found, "\n".join(found)
    bad = ast.parse("from PySide6.QtGui import QStandardItemModel")
    assert list(items_of_qt(bad, Path("x.py")))


def test_no_coroutine_starts_a_nested_loop() -> None:
    found = [one for path in python_files("desktop") for one in nested_loops(tree(path), path)]
    assert not found, "\n".join(found)


def test_every_visible_string_comes_from_the_catalogue() -> None:
    found = [one for path in python_files("desktop") for one in literal_words(tree(path), path)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "source",
    ["async def f():\n box.exec()", "async def f():\n def g():\n  app.processEvents()"],
)
def test_a_nested_loop_is_found(source: str) -> None:
    assert list(nested_loops(ast.parse(source), Path("x.py")))
    assert not list(nested_loops(ast.parse(source.replace("async ", "")), Path("x.py")))


def test_a_literal_word_is_found() -> None:
    source = 'a.setText("Hello"); QLabel(f"{n} runs"); a.setText(text("k")); a.setText("✓ ")'
    found = list(literal_words(ast.parse(source), Path("x.py")))
    assert [one.split(" shows ")[1].split(",")[0] for one in found] == ["'Hello'", "' runs'"]
