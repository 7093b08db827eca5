"""Finds programs as the user's terminal does; an app started from an icon inherits no PATH."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from executor_core.clock import Clock, wait_or
from executor_core.errors import ExecutorError
from executor_core.jobs import Jobs
from executor_core.process._system import system
from executor_core.process.environment import child_environment
from executor_core.process.tree import ProcessTree

_log = logging.getLogger("executor.process")

LIMIT_S = 5.0


async def login_shell_path(base: Mapping[str, str], clock: Clock) -> str:
    """The PATH of the user's login shell, then usual install folders, then our own PATH.

    `base` is our environment. Starts the shell once (5 s at most; start-up files may do anything):
    keep the answer. Without an answer the reason is logged and the rest remains.
    """
    own = base.get("PATH", os.defpath)
    shell = system.login_shell(base)
    asked = await _ask(shell, base, clock) if shell else ""
    # Where we install agents counts before it exists: a running executor finds them at once.
    ours = system.own_programs(base)
    places = system.usual_places(base)
    usual = [str(place) for place in places if place.is_dir() or place == ours]
    return merge_paths(asked, os.pathsep.join(usual), own)


def merge_paths(*paths: str) -> str:
    """One PATH of all, first come first; without duplicates and without relative folders."""
    folders = (folder for path in paths for folder in path.split(os.pathsep))
    return os.pathsep.join(dict.fromkeys(folder for folder in folders if os.path.isabs(folder)))


def find_program(name: str, path: str) -> Path | None:
    """The absolute path of the first executable `name` on `path`, or of an absolute `name`.

    On Windows also with the usual suffixes, real programs before batch files of one folder.
    """
    if os.path.dirname(name):
        candidates: Iterable[Path] = _spellings(Path(name)) if os.path.isabs(name) else ()
    else:
        folders = (Path(folder) for folder in path.split(os.pathsep) if os.path.isabs(folder))
        candidates = (spelling for folder in folders for spelling in _spellings(folder / name))
    return next((file for file in candidates if file.is_file() and os.access(file, os.X_OK)), None)


def _spellings(program: Path) -> list[Path]:
    if program.suffix.lower() in system.EXECUTABLE_SUFFIXES:
        return [program]
    return [program.with_name(program.name + suffix) for suffix in system.EXECUTABLE_SUFFIXES]


async def _ask(shell: str, base: Mapping[str, str], clock: Clock) -> str:
    # Start-up files may print anything around the answer.
    mark = secrets.token_hex(8)
    script = f"printf '\\n%s%s\\n' '{mark}' \"$PATH\""
    env = child_environment(
        base, path=base.get("PATH", os.defpath), extra={}, platform=sys.platform
    )
    try:
        tree = await ProcessTree.spawn(
            [shell, "-ilc", script],
            cwd=Path(base.get("HOME", "/")),
            env=env,
            marker=f"login-shell:{mark}",
            clock=clock,
        )
    except (ExecutorError, ValueError) as error:
        _log.warning("the login shell %s did not start, its PATH is not used: %s", shell, error)
        return ""
    try:
        tree.close_stdin()
        answer = await _answer(tree, mark, clock)
    finally:
        await tree.end()
    if not answer:
        _log.warning("the login shell %s told no PATH within %.0f s", shell, LIMIT_S)
    return answer


async def _answer(tree: ProcessTree, mark: str, clock: Clock) -> str:
    done = asyncio.Event()
    found = ""

    async def listen() -> None:
        nonlocal found
        async for line in tree.lines():
            if line.startswith(mark.encode()):
                found = os.fsdecode(line[len(mark) :]).strip()
                break
        done.set()

    jobs = Jobs("process/login-shell")
    jobs.spawn(listen(), "listen")
    try:
        await wait_or(done, clock, LIMIT_S)
    finally:
        await jobs.close()
    return found
