"""All services, for those who want all of it: a window, and the local API."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from executor_core.clock import Clock
from executor_core.config import options
from executor_core.control import Control
from executor_core.services.account import LocalAccount
from executor_core.services.computer import (
    find_installer,
    find_python_installer,
    host_of_user,
    make_host,
)
from executor_core.services.devices import LocalDevices
from executor_core.services.doctor import Doctor
from executor_core.services.install import LocalInstall
from executor_core.services.interface import Services
from executor_core.services.log import LogFiles
from executor_core.services.reach import Load, Reach
from executor_core.services.settings import LocalSettings
from executor_core.services.workspaces import LocalWorkspaces


def open_services(
    load: Load,
    reach: Reach,
    clock: Clock,
    *,
    control: Control | None = None,
    has_tray: Callable[[], bool] | None = None,
) -> Services:
    """`load` reads the configuration anew, `reach` finds the executor that runs.

    `control` is the executor of this process, where it is one. `has_tray` only a window knows.
    """
    config = load()
    log = config[options.LOG_DIR] / config[options.LOG_FILE]
    return Services(
        account=LocalAccount(load, reach, clock, on_wait=lambda: None),
        devices=LocalDevices(load, reach),
        settings=LocalSettings(config.reread),
        workspaces=LocalWorkspaces(load, reach, host_of_user),
        install=LocalInstall(
            partial(find_installer, config), partial(find_python_installer, config)
        ),
        health=Doctor(config, make_host(config, clock), clock, control=control, has_tray=has_tray),
        log=LogFiles(log, clock),
    )
