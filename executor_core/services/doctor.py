"""The doctor at work, and the bundle of what helpers need to know.

It works with and without a running executor, and before anything was configured. In the bundle is
no prompt, no answer and no value of a variable; what is in it is redacted once more.
"""

from __future__ import annotations

import asyncio
import io
import platform
import re
import sys
import zipfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TypeVar

import msgspec

from executor_core import __version__
from executor_core.agents import AgentHost
from executor_core.clock import Clock
from executor_core.config import options
from executor_core.config.errors import reason_of
from executor_core.config.files import write_private
from executor_core.config.home import Home, user_home
from executor_core.config.layers import Config
from executor_core.config.redaction import redact, register_secret
from executor_core.control import Address, Control, RemoteControl, RunSummary, Status
from executor_core.errors import ExecutorError
from executor_core.services.checks import Examination
from executor_core.services.examination import CHECKS, examine, run_check
from executor_core.services.interface import Check
from executor_core.services.log import LogFiles, written
from executor_core.services.reach import ask_running
from executor_core.services.settings import settings_of

_T = TypeVar("_T")
RUNS_IN_BUNDLE = 200
LOG_ENTRIES = 3000
MAX_FILE_CHARS = 2 * 2**20
"""Of a longer file the end is kept: the newest is what matters."""
_LIBRARIES = (
    "aiohttp",
    "click",
    "keyring",
    "msgspec",
    "psutil",
    "python-socketio",
    "PySide6-Essentials",
)
_OF_RUN = (
    "run_id", "source", "agent", "state", "error", "accepted_at", "started_at", "finished_at",
)  # fmt: skip
_NOT_OF_STATUS = ("runs", "pause_reason")
_HOMES = re.compile(r"(?:/home|/Users|(?i:[A-Z]:(?:\\{1,2}|/)Users))(?:\\{1,2}|/)[^/\\\s\"':;,]+")


class Doctor:
    """Implements HealthService.

    `control` is the executor in this process; None: one is looked for, at every question. `host` is
    this computer as agents see it. `has_tray` can only be told by a window.
    """

    def __init__(
        self,
        config: Config,
        host: AgentHost,
        clock: Clock,
        *,
        control: Control | None = None,
        has_tray: Callable[[], bool] | None = None,
    ) -> None:
        self._config = config
        self._host = host
        self._clock = clock
        self._control = control
        self._has_tray = has_tray

    async def examine(self) -> AsyncGenerator[Check, None]:
        """See HealthService. Takes as long as the slowest check, 70 s at most."""
        async with aclosing(examine(CHECKS.values(), await self._begin())) as checks:
            async for check in checks:
                yield check

    async def fix(self, name: str) -> Check:
        """See HealthService."""
        known, examination = CHECKS.get(name), await self._begin()
        if known is None or known.fix is None:
            raise ExecutorError("nothing_to_fix", check=name)
        if (await run_check(known, examination))[0].fix is None:
            raise ExecutorError("nothing_to_fix", check=name)
        await known.fix(examination)
        [check] = await run_check(known, examination)
        return check

    async def _begin(self) -> Examination:
        return await asyncio.to_thread(
            Examination, self._config, self._host, self._clock, self._ask, self._has_tray
        )

    async def bundle(self) -> dict[str, str]:
        """See HealthService."""
        checks = [check async for check in self.examine()]
        status = await self._ask(lambda control: control.status())
        runs = await self._ask(lambda control: control.runs(RUNS_IN_BUNDLE)) or ()
        return await bundle_of(self._config, self._clock, checks=checks, status=status, runs=runs)

    async def save_bundle(self, target: Path, files: Mapping[str, str]) -> Path:
        """See HealthService."""
        return await asyncio.to_thread(write_zip, target, files)

    async def _ask(self, question: Callable[[Control], Awaitable[_T]]) -> _T | None:
        """What the running executor answers; None where none runs."""
        if self._control is not None:
            return await question(self._control)
        reach = partial(RemoteControl.of_home, self._config.home.api_json)
        return await ask_running(reach, question)


# --- the bundle ----------------------------------------------------------------------------------


async def bundle_of(
    config: Config,
    clock: Clock,
    *,
    checks: Iterable[Check],
    status: Status | None,
    runs: Sequence[RunSummary],
) -> dict[str, str]:
    """The files of a bundle by name, redacted and with home folders written as `~`."""
    files = {
        "doctor.json": _json(tuple(checks)),
        "status.json": _json(_without(status, _NOT_OF_STATUS) if status is not None else None),
        "runs.json": _json([_only(run, _OF_RUN) for run in runs]),
        "settings.txt": await _settings(config),
        "versions.txt": _versions(),
        "environment.txt": "\n".join(sorted(config.environment)) + "\n",
        "executor.log": await _log(config, clock),
    }
    return await asyncio.to_thread(_cleaned, files, config)


def _cleaned(files: Mapping[str, str], config: Config) -> dict[str, str]:
    _know_secrets_of(config.home)
    home = _user_home(config)
    return {name: cleaned(content[-MAX_FILE_CHARS:], home) for name, content in files.items()}


def cleaned(content: str, home: str | None) -> str:
    """`content` without secrets and without the names of users in paths."""
    content = redact(content)
    if home is not None:
        for spelling in (home, home.replace("\\", "\\\\")):
            content = content.replace(spelling, "~")
    return _HOMES.sub("~", content)


def write_zip(target: Path, files: Mapping[str, str]) -> Path:
    """Put `files` into the zip file `target`, which only its owner may read. Blocks."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    try:
        write_private(target, buffer.getvalue())
    except OSError as error:
        raise ExecutorError("bundle_not_written", file=target, reason=reason_of(error)) from error
    return target.absolute()


def _json(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


def _without(value: object, names: Sequence[str]) -> dict[str, object]:
    fields: dict[str, object] = msgspec.to_builtins(value)
    return {name: field for name, field in fields.items() if name not in names}


def _only(value: object, names: Sequence[str]) -> dict[str, object]:
    fields: dict[str, object] = msgspec.to_builtins(value)
    return {name: fields[name] for name in names}


async def _settings(config: Config) -> str:
    found = await asyncio.to_thread(settings_of, config)
    return "".join(f"{one.name} = {one.value}  [{one.source}]\n" for one in found)


def _versions() -> str:
    lines = {
        "wegent-executor": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "frozen": str(bool(getattr(sys, "frozen", False))).lower(),
    }
    for name in _LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            lines[name] = metadata.version(name)
    return "".join(f"{name} {version}\n" for name, version in lines.items())


async def _log(config: Config, clock: Clock) -> str:
    files = LogFiles(config[options.LOG_DIR] / config[options.LOG_FILE], clock)
    try:
        return "".join([written(line) + "\n" async for line in files.lines(LOG_ENTRIES)])
    except ExecutorError as error:
        return f"{error}\n"


def _know_secrets_of(home: Home) -> None:
    """The token of the local API is no option, and nobody else here has read it."""
    with suppress(OSError, msgspec.MsgspecError):
        register_secret(msgspec.json.decode(home.api_json.read_bytes(), type=Address).token)


def _user_home(config: Config) -> str | None:
    with suppress(ExecutorError):
        home = str(user_home(config.environment))
        return home if len(home) > 1 else None
    return None
