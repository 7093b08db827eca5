"""Installs agents that PyPI has, each into an environment of its own below the user's home.

A new one is made beside the old; only what has answered the handshake gets the link on the PATH, so
that a failure leaves everything as it was. uv is used where the user has it, since it brings a
Python that is new enough; else the Python that the user's shell finds.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

from executor_core.agents.host import AgentHost, Answer, version_in
from executor_core.agents.install import (
    INSTALL_LIMIT_S,
    SHORT_LIMIT_S,
    Package,
    Say,
    install_environment,
    install_failed,
    starts_rightly,
)
from executor_core.errors import ExecutorError
from executor_core.texts import text

_WRONG_PYTHON = re.compile(
    r"requires? a different python|Requires-Python|current Python version", re.I
)
_ASK_VERSION = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"


class PythonInstaller:
    """The user's uv or Python, and the folders that are installed into; made by `find`."""

    def __init__(self, host: AgentHost, tool: Path, *, is_uv: bool, home: Path) -> None:
        self._host = host
        self._tool = tool
        self._is_uv = is_uv
        self._is_windows = host.platform == "win32"
        self.folder = home / ".local" / "share" / "wegent-executor" / "agents"
        self._programs = home / ".local" / "bin"

    @classmethod
    async def find(cls, host: AgentHost) -> PythonInstaller:
        """Look for uv, then for Python. Raises ExecutorError("python_missing")."""
        env = install_environment(host)
        home = Path(env.get("USERPROFILE") or env.get("HOME") or Path.home())
        for name in ("uv", "python3", "python"):
            tool = await host.find(name)
            if tool is not None:
                return cls(host, tool, is_uv=name == "uv", home=home)
        raise ExecutorError("python_missing")

    def command(self, package: Package) -> str:
        """What will be run, for people."""
        place = self.folder / package.agent
        if self._is_uv:
            return f"uv venv {place} && uv pip install {package.name}"
        return f"{self._tool.name} -m venv {place} && pip install {package.name}"

    def program(self, package: Package) -> Path:
        """What is started, where it is looked for."""
        return self._programs / (package.program + (".cmd" if self._is_windows else ""))

    async def install(self, package: Package, say: Say) -> tuple[str, Path]:
        """Install the newest `package`, or update it; see `Installer.install`."""
        fresh = self.folder / f"{package.agent}-{secrets.token_hex(4)}"
        is_done = False
        try:
            self._check_free(package)
            await asyncio.to_thread(self.folder.mkdir, parents=True, exist_ok=True)
            version = await self._fill(package, fresh, say)
            say(text("install.placing", folder=self._programs))
            await asyncio.to_thread(self._link, package, fresh)
            is_done = True
        except OSError as error:
            raise install_failed(package, error.strerror or str(error)) from error
        finally:
            if not is_done:
                await asyncio.to_thread(shutil.rmtree, fresh, ignore_errors=True)
        await asyncio.to_thread(self._remove_others, package, fresh)
        return version, await self._host.find(package.program) or self.program(package)

    async def _fill(self, package: Package, fresh: Path, say: Say) -> str:
        python = self._inside(fresh, "python")
        say(text("install.preparing", folder=fresh))
        if self._is_uv:
            make = [str(self._tool), "venv", str(fresh)]
            fetch = [str(self._tool), "pip", "install", "--python", str(python), package.name]
        else:
            make = [str(self._tool), "-m", "venv", str(fresh)]
            fetch = [str(python), "-m", "pip", "install", "--disable-pip-version-check"]
            fetch += ["--no-input", package.name]
        await self._do(package, make)
        say(text("install.fetching_python", package=package.name))
        await self._do(package, fetch)
        say(text("install.checking"))
        program = self._inside(fresh, package.program)
        assert package.definition is not None
        if not await starts_rightly(self._host, package.definition, program):
            raise install_failed(package, text("install.reason.no_answer"))
        asked = await self._run([str(python), "-c", _ASK_VERSION, package.name], SHORT_LIMIT_S)
        return version_in(asked.output) or "?"

    async def _do(self, package: Package, argv: Sequence[str]) -> None:
        answer = await self._run(argv, INSTALL_LIMIT_S)
        if answer.code != 0:
            raise install_failed(package, _reason(answer))

    async def _run(self, argv: Sequence[str], limit_s: float) -> Answer:
        return await self._host.ask(argv, install_environment(self._host), limit_s)

    def _inside(self, environment: Path, program: str) -> Path:
        if self._is_windows:
            return environment / "Scripts" / f"{program}.exe"
        return environment / "bin" / program

    def _check_free(self, package: Package) -> None:
        """Another installer's program is its own business."""
        place = self.program(package)
        if not os.path.lexists(place):
            return
        leads_to = ""
        if place.is_symlink():
            leads_to = os.readlink(place)
        elif self._is_windows:
            leads_to = place.read_text(encoding="utf-8", errors="replace")
        if str(self.folder) not in leads_to:
            raise ExecutorError("install_in_the_way", agent=package.title, path=place)

    def _link(self, package: Package, fresh: Path) -> None:
        """From now on the new one is started."""
        self._programs.mkdir(parents=True, exist_ok=True)
        place, program = self.program(package), self._inside(fresh, package.program)
        new = place.with_name(f".{place.name}-{secrets.token_hex(4)}")
        if self._is_windows:
            new.write_text(f'@"{program}" %*\n', encoding="utf-8")
        else:
            new.symlink_to(program)
        new.replace(place)

    def _remove_others(self, package: Package, fresh: Path) -> None:
        for other in self.folder.glob(f"{package.agent}-????????"):
            if other != fresh:
                shutil.rmtree(other, ignore_errors=True)


def _reason(answer: Answer) -> str:
    """Why it failed, in a sentence for the user."""
    if _WRONG_PYTHON.search(answer.errors):
        return text("install.reason.python")
    lines = [line for line in answer.errors.strip().splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines[-1:] or [text("install.reason.silent")])[0][:300]
