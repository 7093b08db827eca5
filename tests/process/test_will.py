"""Whoever is killed leaves a will; whoever ends leaves nothing."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import psutil
import pytest

from executor_core.process import last_will
from tests.process.children import ENV, until

ROOT = Path(__file__).resolve().parents[2]

DIES = """
import os, signal, sys
from executor_core.process import last_will

with last_will(["/bin/sh", "-c", 'echo "$1" > will', "sh", "odd ' name"]):
    if sys.argv[1] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="jobs do it there")


@pytest.mark.parametrize("how", ["killed", "ends"])
async def test_it_is_done_for_the_dead_alone(tmp_path: Path, how: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DIES, how, cwd=tmp_path, env={**ENV, "PYTHONPATH": str(ROOT)}
    )
    assert await process.wait() == (0 if how == "ends" else -9)
    will = tmp_path / "will"
    if how == "killed":
        await until(lambda: will.exists() and will.read_text() == "odd ' name\n")
    assert will.exists() == (how == "killed")


async def test_the_shell_that_waits_leaves_with_us() -> None:
    with last_will(["/bin/false"]):
        [heir] = [p for p in psutil.Process().children() if "read -r done" in str(p.cmdline())]
    assert not heir.is_running()
