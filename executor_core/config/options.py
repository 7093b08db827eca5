"""Every option of the program, declared once: name, kind, default, and the names it has elsewhere.

Help sentences are in the catalogue as `option.<name>`. Where a value comes from is the business of
`layers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Generic, TypeVar

from executor_core.config import kinds, server_url
from executor_core.config.errors import ConfigError
from executor_core.config.kinds import Address, Kind
from executor_core.texts import Message, text

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Option(Generic[T]):
    """One option. `default` is written as a user would write it, "" means that there is none.

    `environment` lists names, the strongest first. `device_config` is the dotted path in
    device-config.json, where a plain number counts in `device_config_unit`. An option that is not
    `in_toml` has a better place than config.toml.
    """

    name: str
    kind: Kind[T]
    default: object = ""
    empty: T | None = None
    environment: tuple[str, ...] = ()
    device_config: str = ""
    device_config_unit: str = ""
    flag: str = ""
    sensitive: bool = False
    in_toml: bool = True

    @property
    def help(self) -> str:
        """What the option is for, in the user's language."""
        return text(f"option.{self.name}")


MODE = Option[str](
    name="mode",
    kind=kinds.choice("local"),
    default="local",
    environment=("EXECUTOR_MODE",),
    device_config="mode",
    flag="--mode",
)
HOME = Option[Path](
    name="home",
    kind=kinds.path(),
    default="~/.wegent-executor",
    environment=("WEGENT_EXECUTOR_HOME",),
    in_toml=False,
)
LANGUAGE = Option[str](
    name="language",
    kind=kinds.choice("auto", "en", "zh_CN"),
    default="auto",
    environment=("WEGENT_EXECUTOR_LANGUAGE",),
)

SERVER_URL = Option[str](
    name="server.url",
    kind=Kind(server_url.parse, Message("allowed.server_url")),
    empty="",
    environment=("WEGENT_BACKEND_URL",),
    device_config="connection.backend_url",
    flag="--backend-url",
)
SERVER_TOKEN = Option[str](
    name="server.token",
    kind=kinds.secret(),
    empty="",
    environment=("WEGENT_AUTH_TOKEN", "WEGENT_TOKEN"),
    device_config="connection.auth_token",
    flag="--token",
    sensitive=True,
    in_toml=False,
)
SERVER_ALLOW_PLAIN_HTTP = Option[bool](
    name="server.allow_plain_http",
    kind=kinds.switch(),
    default=False,
    environment=("WEGENT_ALLOW_PLAIN_HTTP",),
)

DEVICE_ID = Option[str](
    name="device.id",
    kind=kinds.word(r"[A-Za-z0-9_-]{1,93}", "allowed.device_id"),
    empty="",
    device_config="device_id",
)
DEVICE_NAME = Option[str](
    name="device.name",
    kind=kinds.line_of_text(longest=100),
    empty="",
    device_config="device_name",
)
DEVICE_CAPABILITIES = Option[tuple[str, ...]](
    name="device.capabilities", kind=kinds.texts(), empty=(), device_config="capabilities"
)
DEVICE_MAX_CONCURRENT_TASKS = Option[int](
    name="device.max_concurrent_tasks",
    kind=kinds.integer(1, 32),
    default=5,
    device_config="max_concurrent_tasks",
)
DEVICE_AGENT = Option[str](
    name="device.agent",
    kind=kinds.word(r"[a-z][a-z0-9_-]{0,39}", "allowed.agent"),
    default="from_task",
)

HEARTBEAT_INTERVAL_S = Option[float](
    name="heartbeat.interval_s",
    kind=kinds.seconds(1, 3600),
    default=30,
    environment=("LOCAL_HEARTBEAT_INTERVAL",),
)
HEARTBEAT_TIMEOUT_S = Option[float](
    name="heartbeat.timeout_s",
    kind=kinds.seconds(1, 7200),
    default=90,
    environment=("LOCAL_HEARTBEAT_TIMEOUT",),
)
RECONNECT_DELAY_S = Option[float](
    name="reconnect.delay_s",
    kind=kinds.seconds(0.1, 3600),
    default=1,
    environment=("LOCAL_RECONNECT_DELAY",),
)
RECONNECT_MAX_DELAY_S = Option[float](
    name="reconnect.max_delay_s",
    kind=kinds.seconds(0.1, 3600),
    default=30,
    environment=("LOCAL_RECONNECT_MAX_DELAY",),
)

WORKSPACE_ROOT = Option[Path](
    name="workspace.root",
    kind=kinds.path(),
    default="workspace",
    environment=("LOCAL_WORKSPACE_ROOT",),
)
WORKSPACE_TRUSTED_FOLDERS = Option[tuple[Path, ...]](
    name="workspace.trusted_folders", kind=kinds.paths(), empty=()
)
WORKSPACE_KEEP_DAYS = Option[int](
    name="workspace.keep_days", kind=kinds.integer(0, 3650), default=30
)
AGENTS_TRUSTED_FOLDERS = Option[tuple[Path, ...]](
    name="agents.trusted_folders", kind=kinds.paths(), empty=()
)
# Servers encrypt git tokens with a pair of their own; these are what they take when none is set.
GIT_TOKEN_AES_KEY = Option[str](
    name="git.token_aes_key",
    kind=kinds.word(r"[!-~]{32}", "allowed.aes_key"),
    default="12345678901234567890123456789012",
    environment=("GIT_TOKEN_AES_KEY",),
    sensitive=True,
)
GIT_TOKEN_AES_IV = Option[str](
    name="git.token_aes_iv",
    kind=kinds.word(r"[!-~]{16}", "allowed.aes_iv"),
    default="1234567890123456",
    environment=("GIT_TOKEN_AES_IV",),
    sensitive=True,
)
SKILLS_CLEAR_CACHE = Option[bool](
    name="skills.clear_cache",
    kind=kinds.switch(),
    default=True,
    environment=("SKILL_CLEAR_CACHE",),
)
ANTHROPIC_API_KEY = Option[str](
    name="agents.anthropic_api_key",
    kind=kinds.secret(),
    empty="",
    environment=("ANTHROPIC_API_KEY",),
    sensitive=True,
)
AGENTS_ENVIRONMENT_WITHHELD = Option[tuple[str, ...]](
    name="agents.environment_withheld", kind=kinds.texts(), empty=()
)
AGENTS_BACKGROUND_WAIT = Option[float](
    name="agents.background_wait", kind=kinds.seconds(0, 86_400), default=600.0
)
# What an entry means is known to the agents; here it may hold keys, so it is not shown.
AGENTS_ACP = Option[tuple[Any, ...]](  # Any: tables as they stand in the file
    name="agents.acp", kind=kinds.tables(), empty=(), sensitive=True
)

API_LISTEN = Option[Address](
    name="api.listen",
    kind=kinds.address(),
    default="127.0.0.1:8090",
    environment=("OPENRUNNER_ADDR",),
)
API_ALLOW_REMOTE = Option[bool](name="api.allow_remote", kind=kinds.switch(), default=False)
HUB_ENABLED = Option[bool](name="hub.enabled", kind=kinds.switch(), default=False)
HUB_DIALECT = Option[str](name="hub.dialect", kind=kinds.choice("R", "P"), default="R")

LOG_LEVEL = Option[str](
    name="log.level",
    kind=kinds.choice("DEBUG", "INFO", "WARNING", "ERROR"),
    default="INFO",
    environment=("LOG_LEVEL",),
    device_config="logging.level",
)
LOG_DIR = Option[Path](
    name="log.dir",
    kind=kinds.path(),
    default="logs",
    environment=("WEGENT_EXECUTOR_LOG_DIR",),
)
LOG_FILE = Option[str](
    name="log.file",
    kind=kinds.word(r"(?!\.{1,2}$)[^/\\:\x00-\x1f]{1,200}", "allowed.file_name"),
    default="executor.log",
    environment=("WEGENT_EXECUTOR_LOG_FILE",),
)
LOG_MAX_SIZE_BYTES = Option[int](
    name="log.max_size_bytes",
    kind=kinds.size(64 * 1024, 4096 * kinds.MIB),
    default="10MB",
    environment=("WEGENT_EXECUTOR_LOG_MAX_SIZE",),
    device_config="logging.max_size_mb",
    device_config_unit="MB",
)
LOG_BACKUP_COUNT = Option[int](
    name="log.backup_count",
    kind=kinds.integer(0, 100),
    default=5,
    environment=("WEGENT_EXECUTOR_LOG_BACKUP_COUNT",),
    device_config="logging.backup_count",
)

NOTIFICATIONS_RUN_COMPLETED = Option[bool](
    name="notifications.run_completed", kind=kinds.switch(), default=True
)
NOTIFICATIONS_RUN_FAILED = Option[bool](
    name="notifications.run_failed", kind=kinds.switch(), default=True
)
NOTIFICATIONS_ATTENTION = Option[bool](
    name="notifications.attention", kind=kinds.switch(), default=True
)
DESKTOP_COLOURS = Option[str](
    name="desktop.colours", kind=kinds.choice("system", "light", "dark"), default="system"
)
DESKTOP_KEEP_AWAKE = Option[bool](name="desktop.keep_awake", kind=kinds.switch(), default=True)

OPTIONS: Mapping[str, Option[Any]] = {  # Any: a table of options of every type
    value.name: value for value in tuple(globals().values()) if isinstance(value, Option)
}


def option_named(name: str) -> Option[Any]:
    """The option `name`; ConfigError `unknown_option` with advice otherwise."""
    if name not in OPTIONS:
        raise ConfigError("unknown_option", option=name, advice=advice_on(name))
    return OPTIONS[name]


def option_called(name: str) -> Option[Any]:
    """The option that a person means: `option_named`, or by a name that it has elsewhere."""
    for option in OPTIONS.values():
        if name in other_names(option):
            return option
    return option_named(name)


def other_names(option: Option[Any]) -> tuple[str, ...]:
    """The names of an option outside config.toml: in the environment, and on the command line."""
    return tuple(filter(None, (*option.environment, option.flag)))


def advice_on(name: str) -> Message:
    """The known option that `name` was probably meant to be, or where all of them are."""
    called = [other for option in OPTIONS.values() for other in other_names(option)]
    for nearest in get_close_matches(name, (*OPTIONS, *called), n=1):
        return Message("advice.nearest_option", {"nearest": nearest})
    return Message("advice.all_options")
