"""What Windows refuses, simulated: the tree still ends, and nothing stays suspended."""

from __future__ import annotations

import ctypes
import importlib.util
import signal
import subprocess
import sys
import types
from pathlib import Path
from unittest.mock import MagicMock

import psutil
import pytest

import executor_core.process
from executor_core.errors import ExecutorError
from executor_core.process._system import system
from tests.process.children import shell, spawn, until

_NAMES = ("HANDLE", "LPVOID", "LPCWSTR", "DWORD", "BOOL", "LARGE_INTEGER", "LONG", "UINT")


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The sibling for Windows, with libraries that only note what they are asked."""
    wintypes = types.ModuleType("ctypes.wintypes")
    vars(wintypes).update(dict.fromkeys(_NAMES, ctypes.c_size_t))
    monkeypatch.setitem(sys.modules, "ctypes.wintypes", wintypes)
    for owner, name, value in (
        (ctypes, "wintypes", wintypes),
        (ctypes, "WinDLL", lambda *_, **__: MagicMock()),
        (ctypes, "get_last_error", lambda: 5),
        (signal, "CTRL_BREAK_EVENT", 1),
        (subprocess, "CREATE_NEW_PROCESS_GROUP", 0x200),
        (subprocess, "CREATE_NO_WINDOW", 0x8000000),
    ):
        monkeypatch.setattr(owner, name, value, raising=False)
    source = Path(executor_core.process.__file__).with_name("_windows.py")
    spec = importlib.util.spec_from_file_location("simulated_windows", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "win32")
        spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("refusal", [SystemError, OSError])
def test_a_console_that_refuses_ctrl_break_is_passed_over(
    windows: types.ModuleType, monkeypatch: pytest.MonkeyPatch, refusal: type[Exception]
) -> None:
    asked = []

    def kill(pid: int, number: int) -> None:
        asked.append((pid, number))
        raise refusal

    monkeypatch.setattr(windows, "os", types.SimpleNamespace(kill=kill))
    windows.signal_group(4242, 1)

    assert asked == [(4242, 1)]


def test_a_process_runs_once_it_is_in_its_job(windows: types.ModuleType) -> None:
    windows._ntdll.NtResumeProcess.return_value = 0
    windows.JobObject(4242)

    windows._kernel32.AssignProcessToJobObject.assert_called_once()
    windows._ntdll.NtResumeProcess.assert_called_once()


@pytest.mark.parametrize(("opened", "resumed"), [(0, 0), (77, -1)])
def test_a_process_that_cannot_be_resumed_is_refused(
    windows: types.ModuleType, opened: int, resumed: int
) -> None:
    windows._kernel32.OpenProcess.return_value = opened
    windows._ntdll.NtResumeProcess.return_value = resumed

    with pytest.raises(OSError, match="cannot be resumed"):
        windows.JobObject(4242)

    handles = [call.args[0] for call in windows._kernel32.CloseHandle.call_args_list]
    assert windows._kernel32.CreateJobObjectW.return_value in handles
    assert (opened in handles) == bool(opened)


async def test_what_cannot_be_caged_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    pids = []

    def refuse(pid: int) -> None:
        pids.append(pid)
        raise OSError(5, "process cannot be resumed")

    monkeypatch.setattr(system, "JobObject", refuse)
    with pytest.raises(ExecutorError, match="spawn_failed"):
        await spawn(shell("exec sleep 1000"))

    [pid] = pids
    await until(lambda: not psutil.pid_exists(pid))
