"""Changing config.toml, the one configuration file that we write."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from executor_core.config import documents
from executor_core.config.errors import ConfigError, reason_of
from executor_core.config.files import write_private
from executor_core.config.home import Home, locked
from executor_core.config.kinds import Where
from executor_core.config.options import option_named
from executor_core.config.redaction import redact
from executor_core.texts import Message

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

_T = TypeVar("_T")

Given: TypeAlias = str | int | float | bool | list[str]

PATIENCE_S = 10.0


def set_option(home: Home, name: str, value: Given | None) -> None:
    """Set the option `name` in `<home>/config.toml`, or remove it with None. Blocks."""
    change_options(home, {name: value}, check=lambda: None)


def change_options(
    home: Home, changes: Mapping[str, Given | None], *, check: Callable[[], _T]
) -> _T:
    """Set options, and return what `check` says afterwards; what it raises undoes the changes.

    Comments, order and keys that we do not know stay; the file is replaced whole, mode 0600. One
    change waits for the other, whichever processes make them.

    Raises:
        ConfigError: `unknown_option`, `option_not_in_file`, `bad_option`, `config_syntax`,
            `config_unreadable` or `config_not_written`. The file is then unchanged.
    """
    natives = {name: _native(name, value, home) for name, value in changes.items()}
    if not natives:
        return check()
    with _alone(home):
        file = home.config_toml
        changed = _changed(home, natives)
        before = file.read_bytes() if file.exists() else None
        _write(file, changed.encode())
        try:
            return check()
        except BaseException:
            file.unlink() if before is None else _write(file, before)
            raise


@contextmanager
def _alone(home: Home) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(home.config_lock, PATIENCE_S))
        except OSError as error:
            raise _not_written(home.config_toml, error) from error
        yield


def _changed(home: Home, natives: Mapping[str, object]) -> str:
    """The text of the file with those options, and without those that are None."""
    import tomlkit  # needed for writing only, and takes 30 ms

    documents.read_toml(home.config_toml)  # a broken file is reported as everywhere else
    document = tomlkit.parse(documents.read_text(home.config_toml) or "")
    for name, native in natives.items():
        _put(document, name, native, home)
    return document.as_string()


def _put(document: TOMLDocument, name: str, native: object, home: Home) -> None:
    import tomlkit

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


def _native(name: str, value: Given | None, home: Home) -> object:
    """`value`, checked, as the TOML type that a reader of the file expects."""
    option = option_named(name)
    if not option.in_toml:
        raise ConfigError("option_not_in_file", option=name)
    if value is None:
        return None
    where = Where(base=home.path, user_home=home.path)
    try:
        # A file name may hold bytes that are no text, and then no file of text can name it.
        "".join(value if isinstance(value, list) else str(value)).encode()
        parsed = option.kind.parse(value, where)
    except ValueError:
        shown = Message("value.hidden") if option.sensitive else repr(redact(str(value)))[:100]
        source = Message("source.given")
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


def _write(path: Path, data: bytes) -> None:
    try:
        # A linked config.toml (people keep them in a repository) stays a link.
        write_private(path.resolve(), data)
    except OSError as error:
        raise _not_written(path, error) from error


def _not_written(path: Path, error: OSError) -> ConfigError:
    return ConfigError("config_not_written", file=path, reason=reason_of(error))
