"""Linux and macOS: sessions, process groups and signals."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from executor_core.process.marker import MARKER, Row, is_tag, rows_by_psutil, tag_of

if TYPE_CHECKING:
    import psutil

assert sys.platform != "win32"

# A session of its own, and neither preexec_fn nor a second thread, so that vfork can be used.
SPAWN_OPTIONS: dict[str, Any] = {"start_new_session": True}
GENTLE_SIGNALS = (signal.SIGINT, signal.SIGTERM)
EXECUTABLE_SUFFIXES = ("",)
BATCH_SUFFIXES: tuple[str, ...] = ()

_MOST_LISTINGS = 20  # on a machine where something starts all the time
_RTTIME = 15  # RLIMIT_RTTIME, which `resource` does not name
_prlimit = getattr(resource, "prlimit", None)  # Linux


@contextmanager
def tagging(marker: str) -> Iterator[None]:
    """What is started inside has the tag of `marker` from its first instruction on.

    It is inherited from our own limit, which is put back: nothing else may be started meanwhile.
    """
    limits = None
    with suppress(OSError, ValueError):  # forbidden in a sandbox: ancestry and marker remain
        if _prlimit is not None:
            limits = _prlimit(0, _RTTIME)
            _prlimit(0, _RTTIME, (tag_of(marker), limits[1]))
    try:
        yield
    finally:
        if _prlimit is not None and limits is not None:
            _prlimit(0, _RTTIME, limits)


class JobObject:
    """Nothing holds a tree together; it is known by its ancestry and its signs."""

    def __init__(self, pid: int) -> None:
        pass

    def kill(self) -> None:
        """End everything inside."""

    def close(self) -> None:
        """Give the handle back."""


def signal_group(pid: int, number: signal.Signals) -> None:
    """Send `number` to the process group that `pid` leads."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def kill_group_of(pid: int) -> None:
    """SIGKILL everything in the group of `pid` at once, so that no member can fork meanwhile.

    A group lies within one session and a tree has sessions of its own, so nobody else is in it.
    """
    with suppress(ProcessLookupError, PermissionError):
        group = os.getpgid(pid)
        if group > 1 and group != os.getpgrp():
            os.killpg(group, signal.SIGKILL)


def is_of_this_user(process: psutil.Process) -> bool:
    """Whether the process belongs to the user that we run as."""
    return process.uids().real == os.getuid()


def login_shell(base: Mapping[str, str]) -> str | None:
    """The user's shell: `SHELL`, else the one of the account."""
    import pwd

    with suppress(KeyError):  # an account without an entry, as in some containers
        return base.get("SHELL") or pwd.getpwuid(os.getuid()).pw_shell or None
    return None


def own_programs(base: Mapping[str, str]) -> Path:
    """The folder for programs that a user installs for himself."""
    return Path(base.get("HOME") or Path.home()) / ".local/bin"


def usual_places(base: Mapping[str, str]) -> list[Path]:
    """Where installers put programs, whether or not the folders exist; newest versions first."""
    home = Path(base.get("HOME") or Path.home())
    fixed = (
        ".local/bin",
        ".npm-global/bin",
        ".volta/bin",
        ".bun/bin",
        ".opencode/bin",
        ".claude/local",
        ".cargo/bin",
    )
    versioned = (
        (home / ".nvm/versions/node", "*/bin"),
        (home / ".local/share/fnm/node-versions", "*/installation/bin"),
        (home / "Library/Application Support/fnm/node-versions", "*/installation/bin"),
    )
    places = [home / name for name in fixed]
    for folder, pattern in versioned:
        places += sorted(folder.glob(pattern), key=_version, reverse=True)
    system_wide = ("/opt/homebrew/bin", "/home/linuxbrew/.linuxbrew/bin", "/usr/local/bin")
    return places + [Path(name) for name in system_wide]


def _version(path: Path) -> tuple[int, ...]:
    """`…/v22.4.1/bin` → (22, 4, 1)."""
    named = next((part for part in reversed(path.parts) if part[:1] == "v"), "")
    return tuple(int(number) for number in named[1:].split(".") if number.isdigit())


def _rows_by_proc() -> list[Row]:
    """Linux. Ten times cheaper than psutil, which matters while a tree forks against us.

    Lists again until nobody is new: who ended before being read may have started another.
    """
    rows: list[Row] = []
    seen: set[int] = set()
    for _ in range(_MOST_LISTINGS):
        fresh = {int(name) for name in os.listdir("/proc") if name.isdigit()} - seen
        if not fresh:
            break
        rows += [row for row in map(_row, fresh) if row is not None]
        seen |= fresh
    return rows


def _row(pid: int) -> Row | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            state, ppid = stat.read().rpartition(b")")[2].split()[:2]
    except OSError:
        return None  # gone meanwhile
    if state in (b"Z", b"X"):
        return None
    try:
        with open(f"/proc/{pid}/environ", "rb") as environ:
            variables = environ.read()
    except OSError:
        variables = b""  # another user's process
    return Row(pid, int(ppid), _marker_in(variables), _tag_on(pid))


def _tag_on(pid: int) -> int | None:
    with suppress(OSError):  # gone, or another user's process
        limit = _prlimit(pid, _RTTIME)[0] if _prlimit is not None else -1
        return limit if is_tag(limit) else None
    return None


def _marker_in(variables: bytes) -> str | None:
    name = f"\0{MARKER}=".encode()
    _, found, rest = (b"\0" + variables).partition(name)
    return os.fsdecode(rest.partition(b"\0")[0]) if found else None


rows = _rows_by_proc if os.path.exists("/proc/self/environ") else rows_by_psutil
