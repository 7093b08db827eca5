"""What the doctor finds on this computer, as values. It all blocks: call it in a thread."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from executor_core import control
from executor_core.aside import (
    HUB_VERSION,
    JOURNAL_VERSION,
    is_out_of_place,
    look_at_database,
    make_place,
    set_database_aside,
)
from executor_core.config import options
from executor_core.config.accounts import Pin
from executor_core.config.claims import read_claims
from executor_core.config.errors import reason_of
from executor_core.config.home import Home, InstanceLock
from executor_core.config.identity import kept_id
from executor_core.config.kept import Kept, kept_json
from executor_core.config.kinds import Address
from executor_core.config.layers import Config
from executor_core.config.token import Token
from executor_core.control import Status
from executor_core.errors import ExecutorError
from executor_core.model import TWIN, LinkState

_log = logging.getLogger("executor.services")
_DATABASES = {"journal.db": JOURNAL_VERSION, "hub.db": HUB_VERSION}
_HAS_MODES = os.name == "posix"


class TokenFacts(Struct, frozen=True, kw_only=True):
    """What is known of the token without asking the server. `place` is None where there is none."""

    place: str | None
    expires_at: datetime | None = None
    refusal: str | None = None


class FolderFacts(Struct, frozen=True, kw_only=True):
    """What was found at our folders. `unwritable` come with the system's reason."""

    home: Path
    exists: bool
    readable_by_others: tuple[Path, ...] = ()
    unwritable: tuple[tuple[Path, str], ...] = ()


class FileFacts(Struct, frozen=True, kw_only=True):
    """How the files are that we alone write. `unusable` come with their reader's reason.

    `newer` were written by a newer program; `aside` are those that were damaged once.
    """

    home: Path
    unusable: tuple[tuple[Path, str], ...] = ()
    newer: tuple[Path, ...] = ()
    aside: tuple[Path, ...] = ()


class PortFacts(Struct, frozen=True, kw_only=True):
    """The address that is configured, the one in use, and who else has the configured port.

    `holder` is "" for somebody unknown and None for nobody; `refusal` is why it cannot be opened.
    """

    address: str
    in_use: str | None = None
    holder: str | None = None
    refusal: str | None = None
    is_fixed: bool = False


# --- server and token --------------------------------------------------------------------------


def refusal_of(status: Status | None, server: str) -> str | None:
    """Why the server refuses our token, as the running executor's link was told."""
    links = status.links if status is not None else ()
    refused = (
        one
        for one in links
        if one.server == server and one.state is LinkState.REJECTED and one.code != TWIN
    )
    return next((one.reason or "" for one in refused), None)


def token_facts(token: Token | None, refusal: str | None) -> TokenFacts:
    """The token as the check wants it, without its value."""
    if token is None:
        return TokenFacts(place=None)
    expires_at = read_claims(token.value).expires_at
    return TokenFacts(place=token.source, expires_at=expires_at, refusal=refusal)


# --- home and disks ----------------------------------------------------------------------------


def lock_holder(home: Home) -> str | None:
    """The process id ("?" if unknown) of who has the lock of the home; None if it is free."""
    if not home.lock.exists():
        return None
    try:
        InstanceLock.acquire(home).release()
    except ExecutorError as error:
        if error.code not in ("already_running", "exec_at_work"):
            raise
        return str(error.values["pid"])
    return None


def folder_facts(config: Config) -> FolderFacts:
    """How our folders are."""
    home = config.home
    return FolderFacts(
        home=home.path,
        exists=home.path.is_dir(),
        readable_by_others=tuple(_open_to_others(home)),
        unwritable=tuple(_unwritable(config)),
    )


def file_facts(home: Home, *, is_running: bool) -> FileFacts:
    """How the files of the home are that we alone write. Of a running executor the databases serve.

    What is wrong with the files of the person is said by the reader of the configuration.
    """
    unusable = [(one.path, problem) for one in _kept(home) if (problem := one.problem())]
    unusable += [(lock, "not a plain file") for lock in _locks(home) if is_out_of_place(lock)]
    newer = []
    for database, ours in _DATABASES.items() if not is_running else ():
        version, problem = look_at_database(home.path / database)
        if problem is not None:
            unusable.append((home.path / database, problem))
        elif version > ours:
            newer.append(home.path / database)
    aside = tuple(sorted(home.path.glob("*.damaged-*")))
    return FileFacts(home=home.path, unusable=tuple(unusable), newer=tuple(newer), aside=aside)


def mend_files(home: Home) -> None:
    """Set aside what `file_facts` finds unusable, and put the copy in its place where there is one.

    Raises ExecutorError `already_running` for a database that an executor has.
    """
    mend_small_files(home)
    for path, _ in file_facts(home, is_running=False).unusable:
        if path.name in _DATABASES:
            with InstanceLock.acquire(home):
                set_database_aside(path)


def mend_small_files(home: Home) -> None:
    """The same for all but the databases, at any time."""
    for lock in _locks(home):
        make_place(lock, _log)
    for one in _kept(home):
        with suppress(OSError):  # it stays, and whoever reads it says so
            one.read()


def _kept(home: Home) -> tuple[Kept[Any], ...]:
    return (
        kept_id(home),
        kept_json(home.pause_json, control.Pause),
        kept_json(home.accounts, dict[str, Pin]),
        kept_json(home.api_json, control.Address, is_copied=False),
        kept_json(home.users_json, dict[str, dict[str, str]]),
    )


def _locks(home: Home) -> tuple[Path, ...]:
    return (home.lock, home.config_lock, home.users_lock)


def make_private(home: Home) -> None:
    """Take from other users what `readable_by_others` names."""
    for path in _open_to_others(home):
        path.chmod(0o700 if path.is_dir() else 0o600)


def _open_to_others(home: Home) -> Iterator[Path]:
    """The home and our secrets in it, where other users may look into them; links are left."""
    if not _HAS_MODES:
        return
    for path in (home.path, home.token, home.api_json):
        try:
            found = path.lstat()
        except OSError:
            continue
        is_plain = stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode)
        if is_plain and found.st_uid == os.getuid() and found.st_mode & 0o077:
            yield path


def _unwritable(config: Config) -> Iterator[tuple[Path, str]]:
    for path in _folders(config):
        try:
            with tempfile.TemporaryFile(dir=existing(path)):
                pass
        except OSError as error:
            yield path, reason_of(error)


def _folders(config: Config) -> tuple[Path, ...]:
    return (config.home.path, config[options.WORKSPACE_ROOT], config[options.LOG_DIR])


def existing(path: Path) -> Path:
    """`path`, or the nearest folder above it that exists: there it would be made."""
    return next((one for one in (path, *path.parents) if one.exists()), path)


def free_space(config: Config) -> list[tuple[Path, int]]:
    """The free bytes where home and workspaces are, or would be."""
    folders = _folders(config)[:2]
    return [(path, shutil.disk_usage(existing(path)).free) for path in folders]


# --- programs and ports ------------------------------------------------------------------------


def port_facts(config: Config, in_use: str) -> PortFacts:
    """Who has the port of the local API. `in_use` is where the running executor listens, or ""."""
    address = config[options.API_LISTEN]
    is_fixed = len(config.settings_of(options.API_LISTEN)) > 1
    facts = PortFacts(address=str(address), in_use=in_use or None, is_fixed=is_fixed)
    if address.port == 0 or (in_use and urlsplit(in_use).port == address.port):
        return facts
    problem = _cannot_listen(address)
    if problem is None:
        return facts
    if problem.errno != errno.EADDRINUSE:
        return replace(facts, refusal=reason_of(problem))
    return replace(facts, holder=_who_listens(address.port))


def _cannot_listen(address: Address) -> OSError | None:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family) as one:
        if _HAS_MODES:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(address)
        except OSError as error:
            return error
    return None


def _who_listens(port: int) -> str:
    """Name and process id; "" where the system does not tell."""
    import psutil

    # One by one: a list of all is lost as a whole where a process ends meanwhile.
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            for found in process.net_connections("tcp"):
                if found.status == psutil.CONN_LISTEN and found.laddr.port == port:
                    return f"{process.name()} ({process.pid})"
    return ""
