"""The catalogue and the code agree: every text exists in both languages, and is used."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Formatter

from executor_core.texts import LANGUAGES, catalogue
from tests.policy.code import ROOT, python_files, repository_files, tree

PARTS = ("title", "detail", "hint")
# Keys that are put together at run time, by what a value is called; all of them count as used.
DYNAMIC_PREFIXES = ("console.", "help.", "option.")


@dataclass(frozen=True)
class Use:
    """One place where the code asks for texts: the keys, and the values it hands over."""

    place: str
    keys: tuple[str, ...]
    values: frozenset[str] | None
    """None where the values are not written out at the call."""

    def problems(self, texts: dict[str, str]) -> list[str]:
        """What would go wrong at this place."""
        missing = [f"{self.place}: no text {key}" for key in self.keys if key not in texts]
        if missing or self.values is None:
            return missing
        unfilled = set().union(*(placeholders(texts[key]) for key in self.keys)) - self.values
        return [f"{self.place}: {self.keys[0]} needs {name}" for name in sorted(unfilled)]


def placeholders(sentence: str) -> frozenset[str]:
    """The names in braces. Raises ValueError where the braces do not pair up."""
    return frozenset(name for _, name, _, _ in Formatter().parse(sentence) if name is not None)


def uses(module: ast.Module, path: Path) -> Iterator[Use]:
    """Every call of `text` and every `ExecutorError` whose key or code is written out."""
    for node in ast.walk(module):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else None
        name = node.func.id if isinstance(node.func, ast.Name) else name
        names = [keyword.arg for keyword in node.keywords]
        values = None if None in names else frozenset(name for name in names if name)
        for literal in _literals(node.args[0]):
            place = f"{path}:{node.lineno}"
            if name == "text" and "." in literal:
                yield Use(place, (literal,), values)
            elif name == "ExecutorError":
                yield Use(place, tuple(f"error.{literal}.{part}" for part in PARTS), values)


def _literals(argument: ast.expr) -> list[str]:
    """The strings an argument can be: itself, or both arms of a condition."""
    if isinstance(argument, ast.IfExp):
        return _literals(argument.body) + _literals(argument.orelse)
    is_text = isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    return [argument.value] if is_text else []  # type: ignore[attr-defined]


def strings(module: ast.Module) -> tuple[set[str], set[str]]:
    """All string constants of a module, and what its f-strings begin with."""
    constants, beginnings = set(), set()
    for node in ast.walk(module):
        if isinstance(node, ast.JoinedStr) and node.values:
            first = node.values[0]
            if isinstance(first, ast.Constant) and "." in str(first.value):
                beginnings.add(str(first.value))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            constants.add(node.value)
    return constants, beginnings


def is_used(key: str, constants: set[str], beginnings: tuple[str, ...], data: str) -> bool:
    kind, _, rest = key.partition(".")
    if kind == "error":
        return rest.rpartition(".")[0] in constants
    return key in constants or key.startswith(beginnings) or key in data


def code() -> tuple[Path, ...]:
    return python_files("executor_core", "desktop")


def test_languages_have_the_same_keys() -> None:
    keys = {language: catalogue(language).keys() for language in LANGUAGES}
    assert keys["en"] == keys["zh_CN"]


def test_languages_have_the_same_placeholders() -> None:
    other = catalogue("zh_CN")
    assert {
        key
        for key, sentence in catalogue("en").items()
        if key in other and placeholders(sentence) != placeholders(other[key])
    } == set()


def test_no_text_is_empty_but_hints() -> None:
    empty = {
        key
        for language in LANGUAGES
        for key, sentence in catalogue(language).items()
        if not sentence.strip() and not key.endswith(".hint")
    }
    assert empty == set()


def test_errors_have_title_detail_and_hint() -> None:
    keys = [key for key in catalogue("en") if key.startswith("error.")]
    codes = {key.split(".", 1)[1].rpartition(".")[0] for key in keys}
    assert set(keys) == {f"error.{code}.{part}" for code in codes for part in PARTS}


def test_every_text_the_code_asks_for_exists_and_gets_its_values() -> None:
    found = [use for path in code() for use in uses(tree(path), path)]
    problems = [problem for use in found for problem in use.problems(catalogue("en"))]
    assert not problems, "\n".join(problems)


def test_every_text_is_used() -> None:
    constants: set[str] = set()
    beginnings: set[str] = set(DYNAMIC_PREFIXES)
    for path in code():
        more, prefixes = strings(tree(path))
        constants |= more
        beginnings |= prefixes - {"error."}
    data = "".join(
        (ROOT / path).read_text(encoding="utf-8")
        for path in repository_files()
        if path.parts[0] == "resources" and path.suffix in {".js", ".html"}
    )
    unused = [
        key for key in catalogue("en") if not is_used(key, constants, tuple(beginnings), data)
    ]
    assert not unused, "\n".join(unused)


def test_a_missing_text_and_a_missing_value_are_found() -> None:
    source = """
text("a.known", name=1); text("a.known"); text("a.gone"); text(f"a.{x}"); text("a.known", **v)
raise ExecutorError("bad" if x else "gone", retry=True)
"""
    texts = {"a.known": "{name}", **{f"error.bad.{part}": "{reason}" for part in PARTS}}
    found = [use.problems(texts) for use in uses(ast.parse(source), Path("x.py"))]
    assert [problem for problems in found for problem in problems] == [
        "x.py:2: a.known needs name",
        "x.py:2: no text a.gone",
        "x.py:3: error.bad.title needs reason",
        *(f"x.py:3: no text error.gone.{part}" for part in PARTS),
    ]


def test_an_unused_text_is_found() -> None:
    constants, beginnings = strings(ast.parse("a('one.two'); b(f'state.{x}'); E('bad')"))
    used = {
        key: is_used(key, constants, tuple(beginnings), "t('page.title')")
        for key in (
            "one.two",
            "state.on",
            "error.bad.hint",
            "page.title",
            "one.three",
            "error.x.hint",
        )
    }
    assert [key for key, is_in_use in used.items() if not is_in_use] == [
        "one.three",
        "error.x.hint",
    ]
