"""Starting at login, by the mechanism that each system has for it.

What is written is made by pure functions; `Autostart` puts it where the system looks.
"""

from __future__ import annotations

import plistlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

APP_ID = "wegent-executor"
_RUN_KEY = r"Software\Microsoft\Windows\CurrentVersion\Run"


class Autostart(Protocol):
    """One system's way. Each call may raise OSError."""

    @property
    def place(self) -> str:
        """Where the entry is, to be shown to people."""

    def is_on(self) -> bool:
        """Whether the system will start us."""

    def turn(self, on: bool) -> None:
        """Write the entry, or take it away."""


class FileAutostart:
    """A file in a folder that the session reads: Linux desktops, and macOS."""

    def __init__(self, file: Path, content: bytes) -> None:
        self._file = file
        self._content = content

    @property
    def place(self) -> str:
        return str(self._file)

    def is_on(self) -> bool:
        try:
            return not _is_hidden(self._file.read_bytes())
        except FileNotFoundError:
            return False

    def turn(self, on: bool) -> None:
        if on:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_bytes(self._content)
        else:
            self._file.unlink(missing_ok=True)


class RegistryAutostart:
    """A value below the user's Run key: Windows."""

    def __init__(self, command: str) -> None:
        self._command = command

    @property
    def place(self) -> str:
        return rf"HKCU\{_RUN_KEY}\{APP_ID}"

    def is_on(self) -> bool:
        if sys.platform != "win32":
            return False
        import winreg

        try:
            with winreg.OpenKey(winreg.HKEY_CURRENT_USER, _RUN_KEY) as key:
                winreg.QueryValueEx(key, APP_ID)
        except FileNotFoundError:
            return False
        return True

    def turn(self, on: bool) -> None:
        if sys.platform != "win32":
            return
        import contextlib
        import winreg

        with winreg.CreateKey(winreg.HKEY_CURRENT_USER, _RUN_KEY) as key:
            if on:
                winreg.SetValueEx(key, APP_ID, 0, winreg.REG_SZ, self._command)
            else:
                with contextlib.suppress(FileNotFoundError):  # nothing to take away
                    winreg.DeleteValue(key, APP_ID)


def autostart_for(
    platform: str, command: Sequence[str], *, user_home: Path, config_home: Path
) -> Autostart:
    """The way of `platform` (a `sys.platform`) to start `command`.

    `config_home` is `XDG_CONFIG_HOME`; only desktops that read it use it.
    """
    if platform == "win32":
        return RegistryAutostart(subprocess.list2cmdline(command))
    if platform == "darwin":
        file = user_home / "Library" / "LaunchAgents" / f"{APP_ID}.plist"
        return FileAutostart(file, launch_agent(command))
    return FileAutostart(config_home / "autostart" / f"{APP_ID}.desktop", desktop_entry(command))


def desktop_entry(command: Sequence[str]) -> bytes:
    """A freedesktop.org autostart entry."""
    lines = (
        "[Desktop Entry]",
        "Type=Application",
        "Name=Wegent Executor",
        f"Exec={' '.join(map(_quoted, command))}",
        f"Icon={APP_ID}",
        "X-GNOME-Autostart-enabled=true",
    )
    return ("\n".join(lines) + "\n").encode()


def launch_agent(command: Sequence[str]) -> bytes:
    """A macOS LaunchAgent that starts with the graphical session, and is not started again."""
    return plistlib.dumps(
        {
            "Label": APP_ID,
            "ProgramArguments": list(command),
            "RunAtLoad": True,
            "LimitLoadToSessionType": "Aqua",
            "ProcessType": "Interactive",
        }
    )


def _quoted(argument: str) -> str:
    """One argument of an Exec line: quoted, escaped twice as the specification wants it."""
    for sign in ("\\", '"', "`", "$"):
        argument = argument.replace(sign, "\\" + sign)
    return '"' + argument.replace("\\", "\\\\").replace("%", "%%") + '"'


def _is_hidden(content: bytes) -> bool:
    """Whether the person or the desktop switched the entry off and left it in place."""
    lines = {line.replace(b" ", b"").strip().lower() for line in content.splitlines()}
    return bool(lines & {b"hidden=true", b"x-gnome-autostart-enabled=false"})
