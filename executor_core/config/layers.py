"""Reading the layers and merging them: which value of an option wins, and why.

Weakest first: default, device-config.json, config.env, config.toml, environment, command line.
This is the only place that reads the environment of the process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from executor_core.config import documents, options, server_url
from executor_core.config.errors import ConfigError
from executor_core.config.home import Home, user_home, working_folder
from executor_core.config.kinds import Where
from executor_core.config.options import OPTIONS, Option
from executor_core.config.redaction import redact, register_secret
from executor_core.texts import Message, language_of, text

T = TypeVar("T")


class Layer(IntEnum):
    """Where a value can come from; the greater wins. Three of them hold the token only."""

    DEFAULT = 0
    DEVICE_CONFIG = 1
    CONFIG_ENV = 2
    CONFIG_TOML = 3
    TOKEN_FILE = 4
    KEYCHAIN = 5
    ENVIRONMENT = 6
    COMMAND_LINE = 7
    ENTERED = 8


@dataclass(frozen=True)
class Setting:
    """What one place says about one option; `raw` as it stands there."""

    option: Option[Any]  # Any: of whichever type
    layer: Layer
    source: Message
    raw: object

    def __repr__(self) -> str:
        return f"Setting({self.option.name}, {self.layer.name}, {self.shown!r})"

    @property
    def shown(self) -> str:
        """The raw value for people; that there is one instead of a secret."""
        return text("value.set") if self.option.sensitive else redact(str(self.raw))[:200]


@dataclass(frozen=True)
class Explanation:
    """One step of the chain that `explain` gives, the weakest first."""

    layer: Layer
    source: str
    value: str
    winning: bool


def read_environment() -> dict[str, str]:
    """The environment of this process, copied."""
    return dict(os.environ)  # noqa: TID251 - this is the one place


Read: TypeAlias = "Callable[..., Config]"
"""Reads all layers anew, or those up to one that is given as `strongest`."""


class Config:
    """The values of all options. Immutable; made by `load` or `read`."""

    def __init__(
        self,
        home: Home,
        settings: Sequence[Setting],
        values: Mapping[str, Any],  # Any: typed by the option that asks
        environment: Mapping[str, str],
        given: Mapping[str, str],
        warnings: Sequence[Message],
        problems: Sequence[ConfigError],
        reread: Read,
    ) -> None:
        self.home = home
        self.environment = {**given, **environment}
        """config.env below the environment of the process: what programs we start may be given."""
        self.given = given
        """What of that only config.env says: meant for this program, whatever a shell exports."""
        self.warnings = tuple(warnings)
        """Things to say once, when the log is open."""
        self.problems = tuple(problems)
        """What `load` refuses."""
        self.reread = reread
        """`read`, as this one was read."""
        self._settings = tuple(settings)
        self._values = values

    def __getitem__(self, option: Option[T]) -> T:
        value: T = self._values[option.name]
        return value

    @property
    def language(self) -> str:
        """The catalogue to use: the configured one, else that of the locale."""
        chosen = self[options.LANGUAGE]
        if chosen != "auto":
            return chosen
        names = (self.environment.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
        return language_of(next((name for name in names if name), ""))

    def settings_of(self, option: Option[Any]) -> tuple[Setting, ...]:
        """Everything that was said about `option`, the weakest first."""
        return tuple(setting for setting in self._settings if setting.option is option)

    def explain(self, name: str) -> tuple[Explanation, ...]:
        """Where the value of the option `name` comes from, the weakest first.

        For the token these are the places of configuration only; `TokenSources.explain` knows all.

        Raises:
            ConfigError: `unknown_option`.
        """
        chain = self.settings_of(options.option_named(name))
        return tuple(
            Explanation(setting.layer, setting.source.text(), setting.shown, setting is chain[-1])
            for setting in chain
        )


def load(
    home: Home,
    environment: Mapping[str, str],
    command_line: Mapping[str, object] | None = None,
    config_file: Path | None = None,
) -> Config:
    """Read every layer and check every value in it.

    Args:
        home: read, not created.
        environment: of the process, from `read_environment`.
        command_line: values by option name; None means that the flag was not given.
        config_file: read instead of `<home>/config.toml`; it must exist.

    Raises:
        ConfigError: a file cannot be read (`config_unreadable`) or parsed (`config_syntax`), or a
            value is not allowed (`bad_option`), also if a stronger layer overrides it.
    """
    config = read(home, environment, command_line, config_file)
    for problem in config.problems:
        raise problem
    return config


def read(
    home: Home,
    environment: Mapping[str, str],
    command_line: Mapping[str, object] | None = None,
    config_file: Path | None = None,
    strongest: Layer = Layer.COMMAND_LINE,
) -> Config:
    """The same for those who find out what is wrong, and put it right: nothing is refused.

    A file that cannot be read counts as empty, and a value that is not allowed as not given; of
    values that do not go together nothing is left out. Layers above `strongest` are not asked.
    """
    where = _Where(home.path, working_folder(home.path), _user_home(environment, home))
    problems: list[ConfigError] = []

    written: Mapping[str, documents.Assignment] = {}
    with _collected(problems):
        written = documents.read_env(home.config_env, environment)
    toml, toml_text = dict[str, Any](), ""
    with _collected(problems):
        toml, toml_text = documents.read_toml(
            config_file or home.config_toml, must_exist=config_file is not None
        )
    device_config: Mapping[str, Any] = {}
    with _collected(problems):
        device_config = documents.read_json(home.device_config)
    toml_name = str(config_file) if config_file else home.config_toml.name
    found = [
        *_defaults(),
        *_device_config(device_config, home.device_config.name),
        *_variables(Layer.CONFIG_ENV, written),
        *_toml(toml, toml_text, toml_name),
        *_variables(Layer.ENVIRONMENT, environment),
        *_command_line(command_line or {}),
    ]
    said = [one for one in found if one.raw not in (None, "") and one.layer <= strongest]
    settings, values = _values(said, where, problems)
    values[options.HOME.name] = home.path
    given = {name: entry.value for name, entry in written.items() if name not in environment}
    reread = partial(read, home, environment, command_line, config_file)
    warnings = tuple(_unknown(toml, toml_name))
    return Config(home, settings, values, environment, given, warnings, problems, reread)


@contextmanager
def _collected(problems: list[ConfigError]) -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        problems.append(error)


@dataclass(frozen=True)
class _Where:
    """What paths are relative to: files count from the home, what is typed from the folder."""

    home: Path
    working_folder: Path
    user_home: Path

    def of(self, layer: Layer) -> Where:
        typed = layer >= Layer.ENVIRONMENT
        return Where(self.working_folder if typed else self.home, self.user_home)


def _user_home(environment: Mapping[str, str], home: Home) -> Path:
    try:
        return user_home(environment)
    except ConfigError:
        return home.path  # a user without a home folder: `~` can only be what was configured


# --- what each layer says ----------------------------------------------------------------------


def _defaults() -> Iterator[Setting]:
    for option in OPTIONS.values():
        yield Setting(option, Layer.DEFAULT, Message("source.default"), option.default)


def _device_config(document: Mapping[str, Any], file: str) -> Iterator[Setting]:
    for option in OPTIONS.values():
        raw: Any = document if option.device_config else None
        for key in filter(None, option.device_config.split(".")):
            raw = raw.get(key) if isinstance(raw, dict) else None
        if option.device_config_unit and isinstance(raw, int | float):
            raw = f"{raw}{option.device_config_unit}"
        source = Message("source.key", {"file": file, "key": option.device_config})
        yield Setting(option, Layer.DEVICE_CONFIG, source, raw)


def _variables(
    layer: Layer, variables: Mapping[str, str] | Mapping[str, documents.Assignment]
) -> Iterator[Setting]:
    """The process environment, or config.env; of several names of an option the first is last."""
    for option in OPTIONS.values():
        for name in reversed(option.environment):
            found = variables.get(name)
            if isinstance(found, documents.Assignment):
                source = Message("source.line", {"file": "config.env", "line": found.line})
                yield Setting(option, layer, source, found.value.strip())
            elif found is not None:
                source = Message("source.environment", {"name": name})
                yield Setting(option, layer, source, found.strip())


def _toml(document: Mapping[str, Any], text: str, file: str) -> Iterator[Setting]:
    for name, raw in _flat(document):
        option = OPTIONS.get(name)
        if option is None or not option.in_toml:
            continue
        line = documents.line_of(text, name)
        source = Message("source.key", {"file": file, "key": name})
        if line:
            source = Message("source.line", {"file": file, "line": line})
        yield Setting(option, Layer.CONFIG_TOML, source, raw)


def _command_line(given: Mapping[str, object]) -> Iterator[Setting]:
    for name, raw in given.items():
        option = options.option_named(name)
        source = Message("source.command_line", {"flag": option.flag or name})
        yield Setting(option, Layer.COMMAND_LINE, source, raw)


def _flat(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values; a table without any option of ours is one unknown name."""
    for key, value in document.items():
        name = prefix + key
        is_group = any(option.startswith(f"{name}.") for option in OPTIONS)
        if is_group and isinstance(value, dict):
            yield from _flat(value, f"{name}.")
        else:
            yield name, value


def _unknown(document: Mapping[str, Any], file: str) -> Iterator[Message]:
    for name, _ in _flat(document):
        if name not in OPTIONS:
            advice = options.advice_on(name)
            yield Message(
                "warning.unknown_option", {"file": file, "option": name, "advice": advice}
            )
        elif not OPTIONS[name].in_toml:
            yield Message("warning.not_in_file", {"file": file, "option": name})


# --- what they mean ----------------------------------------------------------------------------


def _values(
    settings: Iterable[Setting], where: _Where, problems: list[ConfigError]
) -> tuple[list[Setting], dict[str, Any]]:
    """The allowed settings of every layer, and the winning value of every option.

    Settings come weakest first. What is wrong with them is added to `problems`.
    """
    values: dict[str, Any] = {option.name: option.empty for option in OPTIONS.values()}
    winners: dict[str, Setting] = {}
    allowed = []
    for setting in settings:
        try:
            value = setting.option.kind.parse(setting.raw, where.of(setting.layer))
        except ValueError:
            problems.append(_bad(setting, setting.option.kind.allowed))
            continue
        if setting.option.sensitive and isinstance(value, str):
            register_secret(value)
        values[setting.option.name] = value
        winners[setting.option.name] = setting
        allowed.append(setting)
    problems += _conflicts(values, winners)
    return allowed, values


def _conflicts(values: Mapping[str, Any], winners: Mapping[str, Setting]) -> Iterator[ConfigError]:
    """Values that are allowed one by one and make no sense together."""
    for lower, higher in (
        (options.HEARTBEAT_INTERVAL_S, options.HEARTBEAT_TIMEOUT_S),
        (options.RECONNECT_DELAY_S, options.RECONNECT_MAX_DELAY_S),
    ):
        if values[lower.name] > values[higher.name]:
            limit = {"option": lower.name, "value": f"{values[lower.name]:g}"}
            yield _bad(winners[higher.name], Message("allowed.at_least", limit))
    url = values[options.SERVER_URL.name]
    if url and not server_url.is_private(url) and not values[options.SERVER_ALLOW_PLAIN_HTTP.name]:
        yield _bad(winners[options.SERVER_URL.name], Message("allowed.server_url_plain_http"))
    listen = options.API_LISTEN.name
    if not values[listen].is_loopback and not values[options.API_ALLOW_REMOTE.name]:
        yield _bad(winners[listen], Message("allowed.loopback"))


def _bad(setting: Setting, allowed: Message) -> ConfigError:
    """One line that names the option, its source and what is allowed; never a secret."""
    hidden = setting.option.sensitive
    return ConfigError(
        "bad_option",
        option=setting.option.name,
        source=setting.source,
        value=Message("value.hidden") if hidden else repr(redact(str(setting.raw)))[:100],
        allowed=allowed,
    )
