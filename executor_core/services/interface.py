"""What a person asks of this computer besides runs: account, devices, settings, folders, health.

Every part works in any process of this user, with and without a running executor: it acts on
<home>, the keychain and the server, and tells a running executor where that matters. What can be
asked is said here; what is done about it lies in the modules beside this one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from executor_core.control.endpoint import endpoint
from executor_core.texts import Message
from executor_core.workspace import CleanReport, Restoration, RunChanges, WorkspaceInfo

# --- account -----------------------------------------------------------------------------------


class Account(Struct, kw_only=True, frozen=True):
    """Who is signed in where. `place` says where the token came from; None: nobody is signed in,
    or that cannot be told now because of `problem`, such as a locked keychain.

    The names and `expires_at` are what the token says about itself; an API key says nothing.
    """

    server: str | None = None
    user_name: str | None = None
    user_id: str | None = None
    expires_at: datetime | None = None
    place: str | None = None
    is_refused: bool = False
    is_api_key: bool = False
    problem: Message | None = None


class ServerCheck(Struct, kw_only=True, frozen=True):
    """What was found at an address that a person typed. `server` is its normal form."""

    server: str
    version: str | None = None
    problem: Message | None = None


class AccountService(Protocol):
    """Signing in and out. Nothing here blocks the loop, whatever the keychain does."""

    async def account(self) -> Account:
        """Who is signed in now."""

    async def check_server(self, address: str) -> ServerCheck:
        """Look whether a Wegent server answers there; what is wrong is in the answer."""

    async def sign_in(self, address: str, token: str, *, to_file: bool = False) -> Account:
        """Keep a token, and `address` as the server to connect to.

        The server is asked first whether it takes the token. Raises ExecutorError `token_refused`,
        `server_unreachable`, `bad_token`, `no_keychain`, `keychain_asking`, `keychain_locked` (both
        wait for the user), `keychain_blocked` (it refused), `token_not_written`, or what is wrong
        with the address. Nothing is then kept.
        """

    async def sign_in_with_password(
        self, address: str, user_name: str, password: str, *, to_file: bool = False
    ) -> Account:
        """Ask the server for a token and keep that; the password is kept nowhere.

        Raises ExecutorError `login_failed`, `server_unreachable` and those of `sign_in`.
        """

    async def sign_out(self) -> Account:
        """Forget the token; who is signed in then, by a place that we do not write."""


# --- the server's devices ----------------------------------------------------------------------


class Device(Struct, kw_only=True, frozen=True):
    """A device as the server lists it. `status` is online, busy or offline."""

    device_id: str
    name: str
    status: str
    is_default: bool = False
    is_this: bool = False
    slots_used: int = 0
    slots_max: int = 0
    version: str | None = None


class Devices(Struct):
    """The user's devices, the default first."""

    items: tuple[Device, ...]
    total: int = 0

    def __post_init__(self) -> None:
        self.total = len(self.items)


_DEVICES = {"part": "devices", "envelope": Devices, "errors": {"server_unreachable": 502}}
_DEVICES_THEN = {**_DEVICES, "then": "devices"}


class DeviceService(Protocol):
    """The server's list of the user's devices. Raises ExecutorError where it cannot be asked."""

    @endpoint("GET", "/api/devices", **_DEVICES)
    async def devices(self) -> tuple[Device, ...]:
        """All of them, the default first."""

    @endpoint("PUT", "/api/devices/{device_id}/default", **_DEVICES_THEN)
    async def make_default(self, device_id: str) -> None:
        """Send tasks that name no device there."""

    @endpoint("DELETE", "/api/devices/{device_id}/default", **_DEVICES_THEN)
    async def clear_default(self) -> None:
        """Have no default device; `no_unset_default` on servers that cannot."""

    @endpoint("DELETE", "/api/devices/{device_id}", **_DEVICES_THEN)
    async def remove(self, device_id: str) -> None:
        """Take it off the list. An executor that runs there registers itself again."""


# --- settings ----------------------------------------------------------------------------------


class Setting(Struct, kw_only=True, frozen=True):
    """One option as people see it. Values are written as in config.toml; secrets are not shown.

    `overridden_by` names the stronger place that decides, for which `change` has no effect.
    """

    name: str
    help: str
    value: str
    default: str
    source: str
    allowed: str
    choices: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    """The value of a list, one by one: a folder's name may hold a comma."""
    is_editable: bool = True
    is_secret: bool = False
    overridden_by: str | None = None


class SettingsService(Protocol):
    """Every declared option, and config.toml, the one file that is written."""

    async def settings(self) -> tuple[Setting, ...]:
        """All options, in the order of their declaration. Reads the files anew."""

    async def change(self, name: str, value: str | list[str] | None) -> Setting:
        """Write an option into config.toml, or remove it with None. It counts from the next start.

        Raises ExecutorError `unknown_option`, `bad_option`, `option_not_in_file`,
        `config_not_written`. The file is then unchanged.
        """


# --- workspaces --------------------------------------------------------------------------------


class WorkspaceService(Protocol):
    """The folders that tasks left below the workspace root, and what runs changed in folders.

    Nothing is touched where a run works; `executor_unasked` where that cannot be found out.
    """

    async def workspaces(self) -> tuple[WorkspaceInfo, ...]:
        """All of them, by name. Raises ExecutorError `git_missing`, `folder_failed`."""

    async def forecast(self, *, unused_for_s: float | None = None) -> CleanReport:
        """What `clean` would do now."""

    async def clean(self, *, unused_for_s: float | None = None) -> CleanReport:
        """Delete what can be had again and nobody used for so long; None: as the option says."""

    async def remove(self, names: Iterable[str]) -> CleanReport:
        """Delete these, whatever is in them, unless a run works there."""

    async def trusted(self) -> tuple[Path, ...]:
        """The folders whose settings of agents count, with all below them."""

    async def trust(self, folder: Path) -> Path:
        """Let `folder` configure agents, from the next run on; its real path.

        Raises ExecutorError `folder_missing`, and those of SettingsService.change.
        """

    async def distrust(self, folder: Path) -> Path:
        """Let `folder` configure agents no longer; its real path.

        Raises ExecutorError `folder_untrusted`, `folder_trusted_above` (only because it lies in
        one that is), and those of SettingsService.change.
        """

    async def undo(
        self, run_id: str, *, is_forced: bool = False, is_trial: bool = False
    ) -> Restoration:
        """Put the files back that a run changed; what was put back, or would be if `is_trial`.

        Files that are not as the run left them stay, unless `is_forced`. Raises ExecutorError
        `no_changes`, `changes_unrecorded`, `changes_too_old` (only the patch is left),
        `changes_undone`, `changes_folder_gone`, `changes_in_use` (a run works there),
        `changes_touched` (nothing else is left) or `undo_failed`. No file is then changed.
        """

    async def redo(
        self, run_id: str, *, is_forced: bool = False, is_trial: bool = False
    ) -> Restoration:
        """Take an undo back: the files it touched are as it found them. Raises as `undo`, and
        `changes_not_undone`.
        """

    async def keep(self, run_id: str, branch: str) -> RunChanges:
        """Make a new branch with all as the run left it; what is in it. Files stay as they are.

        Raises ExecutorError `no_changes`, `changes_too_old`, `changes_folder_gone`,
        `changes_in_use`, `branch_name_refused`, `branch_exists` or `keep_failed`.
        """


# --- agents ------------------------------------------------------------------------------------


class InstallPlan(Struct, kw_only=True, frozen=True):
    """What installing an agent will do, to be shown before it is done."""

    name: str
    title: str
    folder: str
    command: str


class Installed(Struct, kw_only=True, frozen=True):
    """What was installed. `shadowed_by` is another copy that is found first."""

    name: str
    version: str
    path: str
    shadowed_by: str | None = None


class InstallService(Protocol):
    """Installs agents into the user's own space."""

    def installable(self) -> tuple[str, ...]:
        """The agents that can be installed."""

    async def plan(self, name: str) -> InstallPlan:
        """What would be done. Raises ExecutorError `agent_not_installable`, `npm_missing`."""

    async def install(self, name: str, say: Callable[[str], None]) -> Installed:
        """Do it, saying each line of progress. When it raises, everything is as before."""


# --- health ------------------------------------------------------------------------------------


class Verdict(StrEnum):
    """What a check came to. `skipped`: it does not apply here."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


class Check(Struct, kw_only=True, frozen=True):
    """One thing the doctor looked at, in words. `name` is stable and has a help topic.

    `fix` says what pressing a button would do about it; None: nothing can be done from here.
    """

    name: str
    title: str
    verdict: Verdict
    reason: str = ""
    hint: str = ""
    fix: str | None = None


class HealthService(Protocol):
    """The doctor, and the bundle of what helpers need to know."""

    def examine(self) -> AsyncIterator[Check]:
        """All checks, each as soon as it is done, in a fixed order."""

    async def fix(self, name: str) -> Check:
        """Do what the check's `fix` says, and look again. `nothing_to_fix` where there is none."""

    async def bundle(self) -> dict[str, str]:
        """The files that a bundle would hold, by name, redacted: to be read before it is saved."""

    async def save_bundle(self, target: Path, files: Mapping[str, str]) -> Path:
        """Write what `bundle` gave as a zip file (0600); where it is now.

        Raises ExecutorError `bundle_not_written`.
        """


# --- log ---------------------------------------------------------------------------------------


class LogLine(Struct, kw_only=True, frozen=True):
    """One entry of the log; continuation lines belong to the text. `at` as it stands in the log.

    `place` is the source file and line that wrote it. A line of no entry has a text only.
    """

    at: str
    level: str
    logger: str
    text: str
    place: str = ""


class LogService(Protocol):
    """The log file, across its rotations."""

    @property
    def path(self) -> Path:
        """Where it is."""

    def lines(self, last: int, *, follow: bool = False) -> AsyncIterator[LogLine]:
        """The last so many entries, then, with `follow`, every new one."""


class Services(Struct, kw_only=True, frozen=True):
    """All of it."""

    account: AccountService
    devices: DeviceService
    settings: SettingsService
    workspaces: WorkspaceService
    install: InstallService
    health: HealthService
    log: LogService
