"""The whole desk, for those who want all of it: a window, and the local API."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from executor_core.clock import Clock
from executor_core.config import options
from executor_core.control import Control
from executor_core.control.desk import Desk
from executor_core.desk.account import AccountRoom
from executor_core.desk.computer import find_installer, host_of_user, make_host
from executor_core.desk.devices import DeviceRoom
from executor_core.desk.health import Doctor
from executor_core.desk.install import InstallRoom
from executor_core.desk.log import LogFiles
from executor_core.desk.reach import Load, Reach
from executor_core.desk.settings import SettingsRoom
from executor_core.desk.workspaces import WorkspaceRoom


def open_desk(
    load: Load,
    reach: Reach,
    clock: Clock,
    *,
    control: Control | None = None,
    has_tray: Callable[[], bool] | None = None,
) -> Desk:
    """`load` reads the configuration anew, `reach` finds the executor that runs.

    `control` is the executor of this process, where it is one. `has_tray` only a window knows.
    """
    config = load()
    log = config[options.LOG_DIR] / config[options.LOG_FILE]
    return Desk(
        account=AccountRoom(load, reach, clock, on_wait=lambda: None),
        devices=DeviceRoom(load, reach),
        settings=SettingsRoom(config.reread),
        workspaces=WorkspaceRoom(load, reach, host_of_user),
        install=InstallRoom(partial(find_installer, config)),
        health=Doctor(config, make_host(config, clock), clock, control=control, has_tray=has_tray),
        log=LogFiles(log, clock),
    )
