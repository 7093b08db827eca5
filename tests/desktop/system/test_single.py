from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from desktop.system.single import Doorbell, channel_of


async def test_a_second_start_rings_and_a_first_does_not(tmp_path: Path) -> None:
    channel = channel_of(tmp_path)
    assert await second_start(channel) == "False"
    rung = asyncio.Event()
    bell = Doorbell(channel, rung.set)
    assert await second_start(channel) == "True"
    assert rung.is_set()
    bell.close()
    assert await second_start(channel) == "False"


async def second_start(channel: str) -> str:
    code = "import sys; from desktop.system.single import *; print(raise_running(sys.argv[1]))"
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, channel, stdout=asyncio.subprocess.PIPE
    )
    return (await child.communicate())[0].decode().strip()
