"""Memory and processor time of a run, as a person sees them while it runs."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from executor_core.control import RemoteControl, Submission
from tests.support.executor_process import ExecutorProcess
from tests.support.stub_claude import StubClaude, gate, say, turn

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a script"),
]


async def test_what_a_run_uses_is_shown_while_it_runs_and_gone_afterwards(tmp_path: Path) -> None:
    agent = StubClaude(tmp_path / "agent")
    executor = ExecutorProcess(tmp_path, agent.bin)
    try:
        executor.start("--standalone", "--no-gui")
        await executor.online()
        async with RemoteControl.of_home(executor.home / "api.json") as control:
            prompt = turn(say("one"), gate("a"), say("two"))
            run_id = await control.submit(Submission(prompt=prompt))
            await agent.reached("a")
            [listed] = (await executor.json("status"))["runs"]
            assert listed["resources"].keys() == {"rss_bytes", "cpu_s", "processes"}
            assert listed["resources"]["processes"] == 1
            assert listed["resources"]["rss_bytes"] > 2**20
            [summary] = await control.runs()
            detail = await control.run(run_id)
            assert summary.resources is not None
            assert detail.run.resources is not None
            assert " MB, " in (await executor.command("runs", "show", run_id)).out
            assert " MB" in (await executor.command("runs")).out
            agent.open("a")
            async for _ in control.events(run_id):
                pass
            async with asyncio.timeout(10):
                while (await control.status()).runs:
                    await asyncio.sleep(0.02)
            assert (await control.run(run_id)).run.resources is None
    finally:
        executor.clean_up()
