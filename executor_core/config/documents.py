"""The three configuration files as plain values, with the lines to name when something is wrong."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from executor_core.config.errors import ConfigError, reason_of

_LIMIT_BYTES = 1024 * 1024
_VARIABLE = re.compile(r"\\\$|\$(?:\{(\w+)\}|(\w+))", re.ASCII)
_HEADER = re.compile(r"\s*\[([^\[\]]+)\]\s*(?:#.*)?")
_ASSIGNMENT = re.compile(r"""\s*([\w."'\- ]+?)\s*=\s*(\{)?""")


@dataclass(frozen=True)
class Assignment:
    """One line of config.env."""

    value: str
    line: int


def read_text(path: Path, *, must_exist: bool = False) -> str | None:
    """The text of a configuration file, without a byte order mark; None if there is no file.

    Raises:
        ConfigError: `config_unreadable` or `config_syntax`; `home_not_a_folder` where a file is in
            the place of the folder that may have it.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_LIMIT_BYTES + 1)
    except FileNotFoundError as error:
        if must_exist:
            reason = reason_of(error)
            raise ConfigError("config_unreadable", file=path, reason=reason) from error
        return None
    except OSError as error:
        if isinstance(error, NotADirectoryError) and not must_exist:
            raise ConfigError("home_not_a_folder", home=path.parent) from error
        raise ConfigError("config_unreadable", file=path, reason=reason_of(error)) from error
    if len(raw) > _LIMIT_BYTES:
        raise ConfigError("config_unreadable", file=path, reason="larger than 1 MB")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise syntax_error(path, line, "not UTF-8") from error


def syntax_error(path: Path, line: int, problem: str) -> ConfigError:
    """The error for a file that cannot be parsed; `problem` is the parser's own English word."""
    return ConfigError("config_syntax", file=path, line=line, problem=problem)


def read_json(path: Path) -> dict[str, Any]:
    """device-config.json; empty if there is none.

    Raises:
        ConfigError: `config_unreadable` or `config_syntax`.
    """
    text = read_text(path)
    if text is None or not text.strip():
        return {}
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise syntax_error(path, error.lineno, error.msg) from error
    except (RecursionError, ValueError) as error:
        raise syntax_error(path, 1, type(error).__name__) from error
    if not isinstance(document, dict):
        raise syntax_error(path, 1, "not an object")
    return document


def read_toml(path: Path, *, must_exist: bool = False) -> tuple[dict[str, Any], str]:
    """config.toml and its text; both empty if there is none.

    Raises:
        ConfigError: `config_unreadable` or `config_syntax`.
    """
    text = read_text(path, must_exist=must_exist) or ""
    try:
        return tomllib.loads(text), text
    except tomllib.TOMLDecodeError as error:
        at = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", str(error))
        line = int(at[1]) if at and at[1] else text.count("\n") + 1
        problem = str(error)[: at.start()] if at else str(error)
        raise syntax_error(path, line, problem) from error
    except (RecursionError, ValueError) as error:
        raise syntax_error(path, 1, type(error).__name__) from error


def line_of(text: str, name: str) -> int | None:
    """The line of a parsed TOML text that sets the dotted `name`, where it can be told."""
    table = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.fullmatch(line):
            table = _bare(header[1]) + "."
        elif assignment := _ASSIGNMENT.match(line):
            found = table + _bare(assignment[1])
            if found == name or (assignment[2] and name.startswith(found + ".")):
                return number
    return None


def _bare(key: str) -> str:
    return re.sub(r"""["'\s]""", "", key)


def read_env(path: Path, variables: Mapping[str, str]) -> dict[str, Assignment]:
    """config.env as a shell would source it: `export`, quotes, comments, `$NAME` and `${NAME}`.

    Nothing is executed and nothing is exported. `variables` and earlier lines fill references;
    unknown ones become empty. Single quotes keep a dollar sign.

    Raises:
        ConfigError: `config_unreadable` or `config_syntax`.
    """
    text = read_text(path)
    if text is None:
        return {}
    from dotenv.parser import parse_stream  # most homes have no config.env, and this takes 25 ms

    found: dict[str, Assignment] = {}
    for binding in parse_stream(StringIO(text)):
        written = binding.original.string
        blank = len(written) - len(written.lstrip())
        line = binding.original.line + written[:blank].count("\n")
        if binding.error:
            raise syntax_error(path, line, "not NAME=value")
        if binding.key is None or binding.value is None:
            continue  # a comment, or `export NAME` without a value
        value = binding.value
        if not re.search(r"=\s*'", written):
            known = {**variables, **{name: entry.value for name, entry in found.items()}}
            value = _fill(value, known)
        found[binding.key] = Assignment(value, line)
    return found


def _fill(value: str, variables: Mapping[str, str]) -> str:
    def replace(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        return variables.get(name, "") if name else "$"

    return _VARIABLE.sub(replace, value)
