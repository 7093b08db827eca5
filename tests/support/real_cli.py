"""The real agent CLIs, each in the pinned and the newest version, in a cache of the repository.

They are installed by npm on first use. A change of the pinned version is a change of protocol,
after which the recordings under `tests/agents/recordings` are to be made anew.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from executor_core.agents.host import TESTED
from executor_core.agents.install import PACKAGES
from tests.support.home import outer_environment

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "agents"
INSTALL_LIMIT_S = 600


@dataclass(frozen=True)
class Pin:
    """One CLI: its npm package, its command, and the versions that we test with.

    Most tests take `version`; what users meet today is tried with `newest` as well.
    """

    package: str
    version: str
    command: str
    newest: str
    repair: str | None = None
    has_version: bool = True
    """Whether it answers `--version`; else it counts as installed when npm says so."""
    """The package's own script that turns the launcher from a stub into the program, if any."""


PINS = {
    name: Pin(one.name, TESTED[name].oldest, one.program, TESTED[name].newest, one.repair)
    for name, one in PACKAGES.items()
}
"""The versions are those of the product's own table."""


class CannotInstall(Exception):
    """npm is missing, or it failed; the message says which."""


def real_cli(name: str, version: str | None = None) -> Path:
    """The absolute path of the CLI `name`, installed if it is not there yet; by default the pinned.

    Raises CannotInstall. Parallel callers install it once.
    """
    return installed(name, PINS[name], version or PINS[name].version)


def newest_version(package: str) -> str:
    """The version of npm's `latest`. Raises CannotInstall."""
    return _run([_npm(package), "view", package, "version"]).strip()


def installed(name: str, pin: Pin, version: str) -> Path:
    """The program of `pin` in this version, in the cache under `name`; see `real_cli`."""
    home = CACHE / f"{name}-{version}"
    program = home / "node_modules" / ".bin" / pin.command
    if program.exists():
        return program
    CACHE.mkdir(parents=True, exist_ok=True)
    with _alone(CACHE / f"{name}.lock"):
        if not program.exists():
            _install(pin, version, home)
    return program


def _npm(package: str) -> str:
    npm = shutil.which("npm")
    if npm is None:
        raise CannotInstall(f"npm is not installed, so {package} cannot be fetched")
    return npm


def _install(pin: Pin, version: str, home: Path) -> None:
    npm = _npm(pin.package)
    folder = Path(tempfile.mkdtemp(dir=CACHE, prefix="partial-"))
    try:
        _run([npm, "install", "--no-save", "--prefix", str(folder), f"{pin.package}@{version}"])
        program = folder / "node_modules" / ".bin" / pin.command
        if pin.repair and not _answers(program):
            # Where npm runs no scripts, the launcher is a stub that only explains itself.
            _run(["node", str(folder / "node_modules" / pin.package / pin.repair)])
        if pin.has_version and not _answers(program):
            raise CannotInstall(f"{pin.package} {version} was installed but does not start")
        shutil.rmtree(home, ignore_errors=True)  # what an interrupted removal left
        folder.rename(home)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(argv: list[str]) -> str:
    try:
        done = subprocess.run(
            argv,
            env=dict(outer_environment()),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=INSTALL_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotInstall(f"{argv[0]} failed: {error}") from error
    if done.returncode:
        raise CannotInstall(f"{argv[0]} failed ({done.returncode}): {done.stderr[-2000:]}")
    return done.stdout


def _answers(program: Path) -> bool:
    try:
        done = subprocess.run(
            [str(program), "--version"], capture_output=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the lock file, so that other test processes wait. It is free again if we die."""
    try:
        fcntl = importlib.import_module("fcntl")
    except ImportError:
        # Not on Windows: there two installations may race, and the slower rename fails loudly.
        yield
        return
    handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
