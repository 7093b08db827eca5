"""Windows: a Job Object that ends the tree, also when we die; Ctrl-Break is the polite signal."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from ctypes import wintypes
from pathlib import Path
from typing import TYPE_CHECKING, Any

from executor_core.process.marker import rows_by_psutil

if TYPE_CHECKING:
    import psutil

assert sys.platform == "win32"

# Suspended until it is in the job, so that nothing it starts can be outside.
_CREATE_SUSPENDED = 0x4
SPAWN_OPTIONS: dict[str, Any] = {
    "creationflags": (
        subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW | _CREATE_SUSPENDED
    )
}
GENTLE_SIGNALS = (signal.CTRL_BREAK_EVENT,)
BATCH_SUFFIXES = (".cmd", ".bat")
EXECUTABLE_SUFFIXES = (".exe", ".com", *BATCH_SUFFIXES)

_TERMINATE, _SET_QUOTA, _SUSPEND_RESUME = 0x1, 0x100, 0x800
_KILL_ON_JOB_CLOSE = 0x2000
_EXTENDED_LIMITS = 9

_kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
_ntdll = ctypes.WinDLL("ntdll")
for _name, _result, _arguments in (
    ("CreateJobObjectW", wintypes.HANDLE, (wintypes.LPVOID, wintypes.LPCWSTR)),
    (
        "SetInformationJobObject",
        wintypes.BOOL,
        (wintypes.HANDLE, ctypes.c_int, wintypes.LPVOID, wintypes.DWORD),
    ),
    ("OpenProcess", wintypes.HANDLE, (wintypes.DWORD, wintypes.BOOL, wintypes.DWORD)),
    ("AssignProcessToJobObject", wintypes.BOOL, (wintypes.HANDLE, wintypes.HANDLE)),
    ("TerminateJobObject", wintypes.BOOL, (wintypes.HANDLE, wintypes.UINT)),
    ("CloseHandle", wintypes.BOOL, (wintypes.HANDLE,)),
):
    getattr(_kernel32, _name).restype = _result
    getattr(_kernel32, _name).argtypes = _arguments
_ntdll.NtResumeProcess.restype = wintypes.LONG
_ntdll.NtResumeProcess.argtypes = (wintypes.HANDLE,)


class _BasicLimits(ctypes.Structure):
    _fields_ = (
        ("PerProcessUserTimeLimit", wintypes.LARGE_INTEGER),
        ("PerJobUserTimeLimit", wintypes.LARGE_INTEGER),
        ("LimitFlags", wintypes.DWORD),
        ("MinimumWorkingSetSize", ctypes.c_size_t),
        ("MaximumWorkingSetSize", ctypes.c_size_t),
        ("ActiveProcessLimit", wintypes.DWORD),
        ("Affinity", ctypes.c_size_t),
        ("PriorityClass", wintypes.DWORD),
        ("SchedulingClass", wintypes.DWORD),
    )


class _ExtendedLimits(ctypes.Structure):
    _fields_ = (
        ("BasicLimitInformation", _BasicLimits),
        ("IoInfo", ctypes.c_ulonglong * 6),
        ("ProcessMemoryLimit", ctypes.c_size_t),
        ("JobMemoryLimit", ctypes.c_size_t),
        ("PeakProcessMemoryUsed", ctypes.c_size_t),
        ("PeakJobMemoryUsed", ctypes.c_size_t),
    )


def tagging(marker: str) -> AbstractContextManager[None]:
    """Nothing is inherited here: the job holds the tree together."""
    return nullcontext()


class JobObject:
    """A job with kill-on-close around a suspended process, which then runs.

    The system closes the job's only handle when we die, which ends everything inside.
    Raises OSError if the process cannot be made to run: it has to be ended, or stays suspended.
    """

    def __init__(self, pid: int) -> None:
        self._job: int | None = _kernel32.CreateJobObjectW(None, None)
        limits = _ExtendedLimits()
        limits.BasicLimitInformation.LimitFlags = _KILL_ON_JOB_CLOSE
        if self._job:
            _kernel32.SetInformationJobObject(
                self._job, _EXTENDED_LIMITS, ctypes.byref(limits), ctypes.sizeof(limits)
            )
        process = _kernel32.OpenProcess(_TERMINATE | _SET_QUOTA | _SUSPEND_RESUME, False, pid)
        # Without a job, marker and ancestry still find the tree.
        if process and self._job:
            _kernel32.AssignProcessToJobObject(self._job, process)
        runs = process and _ntdll.NtResumeProcess(process) >= 0
        reason = ctypes.get_last_error()
        if process:
            _kernel32.CloseHandle(process)
        if not runs:
            self.close()
            raise OSError(reason, f"process {pid} cannot be resumed")

    def kill(self) -> None:
        """End everything inside."""
        if self._job:
            _kernel32.TerminateJobObject(self._job, 1)

    def close(self) -> None:
        """Give the handle back; this, too, ends what is inside."""
        if self._job:
            _kernel32.CloseHandle(self._job)
            self._job = None


def signal_group(pid: int, number: signal.Signals) -> None:
    """Send Ctrl-Break to the process group that `pid` leads."""
    # Gone, or without a console: the next step is force. What the console refuses, Python raises as
    # a SystemError.
    with suppress(OSError, SystemError):
        os.kill(pid, number)


def kill_group_of(pid: int) -> None:
    """Windows has no such thing; the job does it."""


def is_of_this_user(process: psutil.Process) -> bool:
    """Whether the process belongs to the user that we run as."""
    import psutil

    return bool(process.username() == psutil.Process().username())


def login_shell(base: Mapping[str, str]) -> str | None:
    """None: on Windows the process's own PATH is the user's."""
    return None


def own_programs(base: Mapping[str, str]) -> Path:
    """The folder for programs that a user installs for himself."""
    home = Path(base.get("USERPROFILE") or Path.home())
    return Path(base.get("APPDATA") or home / "AppData/Roaming") / "npm"


def usual_places(base: Mapping[str, str]) -> list[Path]:
    """Where installers put programs, whether or not the folders exist."""
    home = Path(base.get("USERPROFILE") or Path.home())
    roaming = Path(base.get("APPDATA") or home / "AppData/Roaming")
    local = Path(base.get("LOCALAPPDATA") or home / "AppData/Local")
    return [
        home / ".local/bin",
        roaming / "npm",
        local / "Volta/bin",
        home / "scoop/shims",
        home / ".bun/bin",
    ]


rows = rows_by_psutil
