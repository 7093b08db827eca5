"""The options as people see them, and what changes config.toml."""

from __future__ import annotations

import asyncio
from typing import Any, TypeAlias

from executor_core.config.errors import ConfigError
from executor_core.config.layers import Config, Explanation, Layer, Read
from executor_core.config.options import OPTIONS, SERVER_TOKEN, SERVER_URL, Option, option_called
from executor_core.config.redaction import redact
from executor_core.config.token import TokenSources
from executor_core.config.writing import change_options
from executor_core.services.interface import Setting
from executor_core.texts import Message


class LocalSettings:
    """Implements SettingsService. `read` reads all layers anew, as the program was started."""

    def __init__(self, read: Read) -> None:
        self._read = read

    async def settings(self) -> tuple[Setting, ...]:
        return await asyncio.to_thread(lambda: settings_of(self._read()))

    async def change(self, name: str, value: str | list[str] | None) -> Setting:
        return await asyncio.to_thread(change, self._read, name, value)


def change(read: Read, name: str, value: str | list[str] | None) -> Setting:
    """What SettingsService.change does, where nobody minds that it blocks."""
    option = option_called(name)
    name = option.name
    home = read().home
    home.create()
    known = _problems(read)

    def check() -> Setting:
        # What is allowed alone and not together with another option: no start would get past it.
        # What was wrong before is no reason to refuse: it may need more than one change.
        for key, error in _problems(read).items():
            if key in known:
                continue
            if value is not None and error.values.get("option") == name:
                # Its line in the file is no help: what stands there is taken back.
                error.values["source"] = Message("source.given")
            raise error
        return setting_of(read(), option)

    return change_options(home, {name: value}, check=check)


_Key: TypeAlias = tuple[str, ...]


def _problems(read: Read) -> dict[_Key, ConfigError]:
    """What is wrong, by what stays the same where only lines move.

    In the files alone as well: the environment of this process is not that of the next start.
    """
    found = (*read().problems, *read(strongest=Layer.CONFIG_TOML).problems)
    return {_key(error): error for error in found}


def _key(error: ConfigError) -> _Key:
    parts = (error.values.get(name) for name in ("option", "value", "allowed", "file"))
    return (error.code, *map(str, parts))


def settings_of(config: Config) -> tuple[Setting, ...]:
    """Every option, in the order of declaration. Blocks as long as the keychain does."""
    return tuple(setting_of(config, option) for option in OPTIONS.values())


def chain_of(config: Config, name: str) -> tuple[Explanation, ...]:
    """What every place says about an option, the weakest first; of the token also the keychain.

    Raises:
        ConfigError: `unknown_option`.
    """
    server = config[SERVER_URL]
    if name == SERVER_TOKEN.name and server:
        return TokenSources(config).explain(server)
    return config.explain(name)


def setting_of(config: Config, option: Option[Any]) -> Setting:  # Any: of whichever type
    """One option with what counts for it."""
    used = next((step for step in reversed(chain_of(config, option.name)) if step.winning), None)
    is_stronger = used is not None and used.layer > Layer.CONFIG_TOML
    allowed = option.kind.allowed
    return Setting(
        name=option.name,
        help=option.help,
        value=_value(config, option, used),
        default="" if option.sensitive else _typed(option.default),
        source=used.source if used is not None else "",
        allowed=allowed.text(),
        choices=_choices(allowed.code, allowed.values.get("names")),
        items=_items(config, option),
        is_editable=option.in_toml and allowed.code != "allowed.tables",
        is_secret=option.sensitive,
        overridden_by=used.source if used is not None and is_stronger else None,
    )


def _value(config: Config, option: Option[Any], used: Explanation | None) -> str:
    """What counts; of a secret only whether there is one."""
    if used is None:
        return ""
    if option.sensitive:
        return used.value
    return redact(_typed(config.settings_of(option)[-1].raw))


def _items(config: Config, option: Option[Any]) -> tuple[str, ...]:
    said = config.settings_of(option)
    if not said or option.kind.allowed.code not in ("allowed.paths", "allowed.texts"):
        return ()
    raw = said[-1].raw
    parts = raw if isinstance(raw, list | tuple) else str(raw).split(",")
    return tuple(part for part in (str(one).strip() for one in parts) if part)


def _typed(raw: object) -> str:
    """A raw value as a person types it, and as `change` takes it."""
    match raw:
        case bool():
            return "true" if raw else "false"
        case list() | tuple():
            return ", ".join(map(str, raw))
        case _:
            return str(raw)


def _choices(allowed: str, names: object) -> tuple[str, ...]:
    if allowed == "allowed.switch":
        return ("true", "false")
    return tuple(str(names).split(", ")) if allowed == "allowed.choice" else ()
