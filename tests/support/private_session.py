"""A session of the test's own: a D-Bus session bus, a display, and folders for itself alone."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from pathlib import Path
from typing import IO

import psutil
import pytest

from tests.support.home import outer_environment


def needs_programs(*names: str) -> None:
    """Skip the test where one of these programs is missing; in CI they must be there."""
    outer = outer_environment()
    missing = [name for name in names if shutil.which(name, path=outer.get("PATH")) is None]
    if not missing:
        return
    words = f"needs {', '.join(missing)}"
    if outer.get("CI") == "true":
        pytest.fail(words)
    pytest.skip(words)


class PrivateSession:
    """The programs that run in it, and the environment of those that shall."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = contextlib.ExitStack()
        self.env: dict[str, str] = {}

    def start(self, *argv: str, answer: str = "") -> tuple[subprocess.Popen[str], IO[str]]:
        """Start a program that stays, and hand it `answer`; it, and what it prints."""
        process = subprocess.Popen(
            argv,
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._stack.callback(_end, process)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(answer)
        process.stdin.close()
        return process, process.stdout

    def start_ready(self, *argv: str, answer: str = "") -> str:
        """Start a program that says in one line that it is ready; returns the line."""
        _, output = self.start(*argv, answer=answer)
        return output.readline().strip()

    def open(self, *, with_display: bool = False, frame_buffer: Path | None = None) -> None:
        """A session bus; and a display, whose picture can then be read from `frame_buffer`."""
        self.env = {"HOME": str(self.folder), "PATH": outer_environment()["PATH"]}
        for name in ("XDG_DATA_HOME", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
            place = self.folder / name.lower()
            place.mkdir(mode=0o700, exist_ok=True)
            self.env[name] = str(place)
        if with_display:
            # Without -noreset it forgets everything whenever the last program hangs up.
            argv = ["Xvfb", "-noreset", "-displayfd", "1", "-nolisten", "tcp"]
            argv += ["-screen", "0", "1280x800x24"]
            if frame_buffer is not None:
                argv += ["-fbdir", str(frame_buffer)]
            self.env["DISPLAY"] = f":{self.start_ready(*argv)}"
        address = self.start_ready("dbus-daemon", "--session", "--nofork", "--print-address")
        self.env["DBUS_SESSION_BUS_ADDRESS"] = address

    def close(self) -> None:
        """End the programs, and those that the bus started on its own."""
        self._stack.close()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):  # not ours to read, or gone meanwhile
                if process.environ().get("HOME") == str(self.folder):
                    process.kill()
                    process.wait(10)


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)
    assert process.stdout is not None
    process.stdout.close()
