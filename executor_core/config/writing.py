"""Changing config.toml, the one configuration file that we write."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path

from executor_core.config import documents
from executor_core.config.errors import ConfigError, Phrase, reason_of
from executor_core.config.files import write_private
from executor_core.config.home import Home
from executor_core.config.kinds import Where
from executor_core.config.options import option_named
from executor_core.config.redaction import redact


def set_option(home: Home, name: str, value: str | int | float | bool | list[str] | None) -> None:
    """Set the option `name` in `<home>/config.toml`, or remove it with None.

    Comments, order and keys that we do not know stay; the file is replaced whole, mode 0600.

    Raises:
        ConfigError: `unknown_option`, `option_not_in_file`, `bad_option`, `config_syntax`,
            `config_unreadable` or `config_not_written`. The file is then unchanged.
    """
    import tomlkit  # needed for writing only, and takes 30 ms

    option = option_named(name)
    if not option.in_toml:
        raise ConfigError("option_not_in_file", option=name)
    native = None if value is None else _native(name, value, home)
    documents.read_toml(home.config_toml)  # a broken file is reported as everywhere else
    document = tomlkit.parse(documents.read_text(home.config_toml) or "")
    *groups, key = name.split(".")
    table: MutableMapping[str, object] = document
    for group in groups:
        inner = table.setdefault(group, tomlkit.table())
        if not isinstance(inner, MutableMapping):
            line = documents.line_of(document.as_string(), group) or 1
            raise documents.syntax_error(home.config_toml, line, f"{group} is not a table")
        table = inner
    if native is None:
        table.pop(key, None)
    else:
        table[key] = native
    _write(home.config_toml, document.as_string())


def _native(name: str, value: str | int | float | bool | list[str], home: Home) -> object:
    """`value`, checked, as the TOML type that a reader of the file expects."""
    option = option_named(name)
    where = Where(base=home.path, user_home=home.path)
    try:
        parsed = option.kind.parse(value, where)
    except ValueError:
        shown = Phrase("value.hidden") if option.sensitive else repr(redact(str(value)))[:100]
        source = Phrase("source.given")
        raise ConfigError(
            "bad_option", option=name, source=source, value=shown, allowed=option.kind.allowed
        ) from None
    if isinstance(parsed, bool | float):
        return int(parsed) if type(parsed) is float and parsed.is_integer() else parsed
    if isinstance(parsed, int) and str(value).strip().isdigit():
        return int(value) if isinstance(value, str) else value
    if isinstance(value, str) and isinstance(parsed, tuple) and not hasattr(parsed, "_fields"):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value.strip() if isinstance(value, str) else value


def _write(path: Path, text: str) -> None:
    try:
        # A linked config.toml (people keep them in a repository) stays a link.
        write_private(path.resolve(), text.encode())
    except OSError as error:
        raise ConfigError("config_not_written", file=path, reason=reason_of(error)) from error
