"""What the user's terminal knows: an app that is started from an icon inherits next to nothing.

Its variables, and where it finds programs.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from executor_core.clock import Clock, wait_or
from executor_core.errors import ExecutorError
from executor_core.jobs import Jobs
from executor_core.process._system import system
from executor_core.process.environment import (
    RESOLVING,
    child_environment,
    has_terminal,
    owners_environment,
    without_bundle,
)
from executor_core.process.tree import ProcessTree

_log = logging.getLogger("executor.process")

LIMIT_S = 10.0
_SILENT = frozenset({"nologin", "false"})
"""Shells of accounts that nobody signs in to: they tell nothing, and that is no fault."""


class Login(NamedTuple):
    """What the user's login shell came to: a PATH, and its variables, if it told them.

    `silent` is the shell that gave no answer.
    """

    path: str
    variables: Mapping[str, str] = {}
    silent: str | None = None


async def ask_login_shell(started: Mapping[str, str], clock: Clock) -> Login:
    """Ask the user's login shell for its environment.

    The PATH is the shell's, then usual install folders, then our own. `started` is our environment.
    Starts the shell once (10 s at most; start-up files may do anything): keep the answer. Without
    one the reason is logged and the rest remains.
    """
    started = without_bundle(started)
    shell = system.login_shell(started)
    is_asked = shell is not None and Path(shell).name not in _SILENT
    told = await _ask(shell, started, clock) if shell and is_asked else {}
    # Where we install agents counts before it exists: a running executor finds them at once.
    ours = system.own_programs(started)
    places = system.usual_places(started)
    usual = [str(place) for place in places if place.is_dir() or place == ours]
    own = started.get("PATH", os.defpath)
    path = merge_paths(told.get("PATH", ""), os.pathsep.join(usual), own)
    return Login(path, told, shell if is_asked and not told else None)


def merge_paths(*paths: str) -> str:
    """One PATH of all, first come first; without duplicates and without relative folders."""
    folders = (folder for path in paths for folder in path.split(os.pathsep))
    return os.pathsep.join(dict.fromkeys(folder for folder in folders if os.path.isabs(folder)))


async def _ask(shell: str, started: Mapping[str, str], clock: Clock) -> dict[str, str]:
    # Start-up files may print anything around the answer, and values hold any line breaks. Plain
    # words and absolute programs mean the same to every shell.
    mark = secrets.token_hex(8)
    script = f"/usr/bin/env echo {mark}; /usr/bin/env -0; /usr/bin/env echo {mark}"
    flags = "-ic" if Path(shell).name in ("csh", "tcsh") else "-ilc"
    extra = {
        # Start-up files often end early for a terminal that can nothing.
        "TERM": started["TERM"] if has_terminal(started) else "xterm-256color",
        # The known word to those that would start another shell, or a multiplexer, in this place.
        RESOLVING: "1",
    }
    path = started.get("PATH", os.defpath)
    env = child_environment(
        owners_environment(started, {}), path=path, extra=extra, platform=sys.platform
    )
    try:
        tree = await ProcessTree.spawn(
            [shell, flags, script],
            cwd=Path(started.get("HOME", "/")),
            env=env,
            marker=f"login-shell:{secrets.token_hex(8)}",
            clock=clock,
        )
    except (ExecutorError, ValueError) as error:
        _log.warning(
            "the login shell %s did not start, its variables are not known: %s", shell, error
        )
        return {}
    try:
        tree.close_stdin()
        answer = await _answer(tree, mark.encode(), clock)
    finally:
        await tree.end()
    if not answer:
        _log.warning("the login shell %s told no variables within %.0f s", shell, LIMIT_S)
    return answer


async def _answer(tree: ProcessTree, mark: bytes, clock: Clock) -> dict[str, str]:
    """What stands between two lines that are `mark`; nothing where the second one is missing."""
    done = asyncio.Event()
    told: list[bytes] = []
    is_whole = False

    async def listen() -> None:
        nonlocal is_whole
        is_inside = False
        async for line in tree.lines():
            # The last variable ends with a NUL and no line break.
            if is_inside and line.endswith(mark):
                told.append(line.removesuffix(mark))
                is_whole = True
                break
            if is_inside:
                told.append(line)
            is_inside = is_inside or line.endswith(mark)
        done.set()

    jobs = Jobs("process/login-shell")
    jobs.spawn(listen(), "listen")
    try:
        await wait_or(done, clock, LIMIT_S)
    finally:
        await jobs.close()
    return _variables(b"\n".join(told)) if is_whole else {}


def _variables(told: bytes) -> dict[str, str]:
    """The variables in the output of `env -0`."""
    pairs = (os.fsdecode(entry).partition("=") for entry in told.split(b"\0"))
    return {name: value for name, found, value in pairs if found and name}
