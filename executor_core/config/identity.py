"""Who this device is: an id that never changes by itself, and a name for people."""

from __future__ import annotations

import hashlib
import logging
import platform
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from executor_core.config import hardware
from executor_core.config.errors import ConfigError, reason_of
from executor_core.config.home import Home
from executor_core.config.kept import Kept
from executor_core.config.layers import Config, Layer
from executor_core.config.options import DEVICE_ID

_log = logging.getLogger("executor.config")
_ID = re.compile(r"[A-Za-z0-9_-]{1,93}")
_LONGEST_NAME = 100


def _random_id() -> str:
    return uuid.uuid4().hex[:12]


@dataclass(frozen=True)
class IdentityReaders:
    """Where an id can come from when none is written down; tests hand in their own."""

    machine_id: Callable[[], str | None] = hardware.machine_id
    mac_address: Callable[[], str | None] = hardware.mac_address
    random_id: Callable[[], str] = _random_id


def id_of(config: Config) -> str:
    """The id of this device as it is configured.

    One that the user sets counts for as long as it is set, over what was written down before;
    device-config.json, which another program wrote, only stands in for the hardware.
    Raises ConfigError as `device_id` does.
    """
    chosen = config[DEVICE_ID]
    if chosen and config.settings_of(DEVICE_ID)[-1].layer > Layer.DEVICE_CONFIG:
        return chosen
    return device_id(config.home, chosen)


def device_id(home: Home, configured: str = "", readers: IdentityReaders | None = None) -> str:
    """The id of this device: `<home>/device_id`, else `configured`, else from the hardware.

    An id that was not in the file is written there, so that it stays when its origin changes. Where
    that is impossible the id is used all the same, and the log says so.

    Raises:
        ConfigError: `config_unreadable`.
    """
    kept = kept_id(home)
    try:
        if written := kept.read():
            return written
    except OSError as error:
        reason = reason_of(error)
        raise ConfigError("config_unreadable", file=home.device_id, reason=reason) from error
    found = configured or _derived(readers or IdentityReaders())
    try:
        kept.write(found)
    except OSError as error:
        _log.warning(
            "The device id %s could not be written to %s (%s); it is used without being kept",
            found,
            home.device_id,
            reason_of(error),
        )
    return found


def kept_id(home: Home) -> Kept[str]:
    """The file with the id. One that is linked (people keep them elsewhere) stays a link."""
    return Kept(home.device_id.resolve(), _id_in, lambda found: f"{found}\n".encode())


def _id_in(raw: bytes) -> str:
    found = raw.decode("utf-8-sig").strip()
    if not _ID.fullmatch(found):
        raise ValueError(f"{found[:100]!r} is no device id")
    return found


def _derived(readers: IdentityReaders) -> str:
    if machine := readers.machine_id():
        return f"hw-{hashlib.sha256(machine.encode()).hexdigest()[:12]}"
    if mac := readers.mac_address():
        return f"mac-{mac}"
    return f"uuid-{readers.random_id()}"


def device_name(configured: str = "", system: str = "", host: str = "") -> str:
    """What people call this device: the configured name, else `<system> - <hostname>`.

    At most 100 code points. Empty `system` and `host` mean those of this computer.
    """
    name = configured or f"{system or platform.system()} - {host or platform.node()}"
    printable = "".join(char if char.isprintable() else " " for char in name)
    return printable[:_LONGEST_NAME].strip()
