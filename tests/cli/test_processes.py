"""The program as people start and end it: signals, pipes, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from executor_core.model import LinkState, RunState
from tests.cli.test_workspaces import repository
from tests.process.children import until
from tests.support.executor_process import ROOT, ExecutorProcess
from tests.support.hub_server import HubServer
from tests.support.stub_claude import StubClaude, be_stubborn, gate, say, turn, write

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")


@pytest.fixture
def claude(tmp_path: Path) -> StubClaude:
    return StubClaude(tmp_path / "agent")


@pytest.fixture
def executor(tmp_path: Path, claude: StubClaude) -> Iterator[ExecutorProcess]:
    """An executor that finds that agent, not started."""
    folder = tmp_path / "computer"
    folder.mkdir()
    executor = ExecutorProcess(folder, claude.bin)
    yield executor
    executor.clean_up()


@asynccontextmanager
async def begun(
    executor: ExecutorProcess, *arguments: str, stdout: int = subprocess.PIPE
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A command that goes on beside the test, ended with the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "executor_core",
        *arguments,
        env=executor.env,
        cwd=executor.user_home,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line_with(process: asyncio.subprocess.Process, words: str) -> str:
    """The next line of its output that has these words."""
    assert process.stdout is not None
    async with asyncio.timeout(20):
        while line := (await process.stdout.readline()).decode():
            if words in line:
                return line
    raise AssertionError(f"it ended without {words!r}")


@pytest.mark.parametrize(
    ("number", "is_alone"),
    [
        (signal.SIGINT, True),
        (signal.SIGINT, False),
        (signal.SIGTERM, True),
        pytest.param(signal.SIGTERM, False, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, True, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, False, marks=pytest.mark.slow),
    ],
)
async def test_a_signal_to_exec_cancels_the_run_and_leaves_no_process(
    executor: ExecutorProcess, claude: StubClaude, number: signal.Signals, is_alone: bool
) -> None:
    if not is_alone:
        executor.start("--standalone", "--no-gui")
        await executor.online()
    async with begun(executor, "exec", turn(say("begun\n"), gate("in the middle"))) as process:
        agent = await claude.reached("in the middle")
        await line_with(process, "begun")
        process.send_signal(number)
        out, err = await asyncio.wait_for(process.communicate(), 15)
        assert process.returncode == 130, (out, err)
    assert b"Traceback" not in err
    assert not Path(f"/proc/{agent}").exists() if sys.platform == "linux" else True
    if is_alone:
        await executor.until_alone()
    else:
        [run] = await executor.runs()
        assert run.run.state is RunState.CANCELLED


@pytest.mark.slow
@pytest.mark.parametrize("is_alone", [True, False])
async def test_the_run_of_a_killed_exec_is_ended_and_said(
    executor: ExecutorProcess, claude: StubClaude, is_alone: bool
) -> None:
    if not is_alone:
        executor.start("--standalone", "--no-gui")
        await executor.online()
    # One that listens would leave by itself when it loses its executor.
    steps = [be_stubborn()] if is_alone else []
    async with begun(executor, "exec", turn(*steps, gate("in the middle"))) as process:
        agent = psutil.Process(await claude.reached("in the middle"))
        process.kill()
        await process.wait()
        await until(lambda: not agent.is_running(), limit_s=20)
    if is_alone:
        await executor.until_alone()
    [run] = await executor.json("runs", "--json")
    assert run["state"] == ("failed" if is_alone else "cancelled")
    told = (await executor.command("runs", "show" if is_alone else "logs", run["run_id"])).out
    assert ("interrupted" if is_alone else "was killed") in told


@pytest.mark.slow
async def test_exec_whose_reader_leaves_cancels_the_run(
    executor: ExecutorProcess, claude: StubClaude
) -> None:
    executor.start("--standalone", "--no-gui")
    await executor.online()
    reading, writing = os.pipe()
    prompt = turn(say("begun\n"), gate("first"), say("more"), gate("second"))
    async with begun(executor, "exec", prompt, stdout=writing) as process:
        os.close(writing)
        await claude.reached("first")
        os.close(reading)
        claude.open("first")
        _, err = await asyncio.wait_for(process.communicate(), 15)
    assert err == b""
    [run] = await executor.runs()
    assert run.run.state is RunState.CANCELLED


@pytest.mark.slow
async def test_exec_that_loses_its_executor_says_so_and_does_not_ask_twice(
    executor: ExecutorProcess, claude: StubClaude
) -> None:
    executor.start("--standalone", "--no-gui")
    await executor.online()
    async with begun(executor, "exec", turn(say("begun\n"), gate("here"))) as process:
        await claude.reached("here")
        await line_with(process, "begun")
        await executor.kill()
        out, err = await asyncio.wait_for(process.communicate(), 15)
    assert process.returncode == 3
    assert "ended meanwhile" in err.decode()
    assert b"begun" not in out


async def test_exec_alone_answers_and_leaves_nothing_but_the_record(
    executor: ExecutorProcess,
) -> None:
    done = await executor.command("exec", turn(say("alone")))
    assert (done.code, done.err) == (0, "")
    assert "alone" in done.out
    await executor.until_alone()
    assert (await executor.command("status")).code == 3
    assert "completed" in executor.log


@pytest.mark.slow
async def test_what_ran_is_shown_and_taken_back_where_no_executor_runs(
    executor: ExecutorProcess, tmp_path: Path
) -> None:
    app = repository(tmp_path / "app")
    steps = turn(write("a.txt", "two\n"), say("Done."))
    done = await executor.command("exec", "--cwd", str(app), steps)
    [run] = await executor.json("runs", "--json")
    run_id = run["run_id"]
    assert f"runs undo {run_id}" in done.err
    assert "Done." in (await executor.command("runs", "show", run_id)).out
    assert "Done." in (await executor.command("runs", "logs", run_id)).out
    assert (await executor.command("runs", "undo", run_id)).code == 0
    assert (app / "a.txt").read_text() == "one\n"
    assert (await executor.command("runs", "show", "run_0")).code == 1
    await executor.until_alone()


@pytest.mark.slow
async def test_an_exec_that_meets_another_one_names_it_and_the_ways_out(
    executor: ExecutorProcess, claude: StubClaude
) -> None:
    async with begun(executor, "exec", turn(gate("here"), say("Done."))) as first:
        await claude.reached("here")
        done = await executor.command("exec", "x")
        assert done.code == 7
        assert f"process {first.pid}" in done.err
        assert "Ctrl-C" in done.err
        assert "status" not in done.err
        claude.open("here")
        assert await asyncio.wait_for(first.wait(), 15) == 0


async def test_exec_without_any_agent_says_what_to_install(executor: ExecutorProcess) -> None:
    executor.env["PATH"] = "/usr/bin:/bin"
    done = await executor.command("exec", "hello")
    assert done.code == 1
    assert "wegent-executor agents install claude_code" in done.err
    assert done.err.count("\n") == 1


@pytest.mark.slow
async def test_stop_returns_when_the_executor_and_its_runs_are_gone(
    executor: ExecutorProcess, claude: StubClaude
) -> None:
    executor.start("--standalone", "--no-gui")
    await executor.online()
    async with begun(executor, "exec", turn(gate("here"))) as process:
        await claude.reached("here")
        stopped = await executor.command("stop")
        assert (stopped.code, stopped.out) == (0, "Stopped.\n")
        assert not executor.is_alive
        await asyncio.wait_for(process.communicate(), 15)
        assert process.returncode == 1
    assert (await executor.command("status")).code == 3
    assert (await executor.command("stop")).code == 3
    await executor.until_alone()


@pytest.mark.slow
async def test_an_executor_that_hangs_is_told_from_one_that_ended(
    executor: ExecutorProcess,
) -> None:
    executor.start("--standalone", "--no-gui")
    await executor.online()
    executor.signal(signal.SIGSTOP)
    try:
        commands = (("status",), ("exec", "x"), ("stop",))
        done = await asyncio.gather(*(executor.command(*one, limit_s=12) for one in commands))
    finally:
        executor.signal(signal.SIGCONT)
    words = ("does not answer", "does not answer", "did not end in time")
    for said, word, code in zip(done, words, (4, 4, 1), strict=True):
        assert word in said.err
        assert f"rocess {executor.pid} " in said.err
        assert said.code == code


async def error_line(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    return (await asyncio.wait_for(process.stderr.readline(), 10)).decode()


@pytest.mark.slow
async def test_exec_says_what_it_waits_for_and_that_its_run_was_cancelled(
    executor: ExecutorProcess, claude: StubClaude
) -> None:
    executor.start("--standalone", "--no-gui")
    await executor.online()
    async with begun(executor, "exec", turn(gate("here"))):
        await claude.reached("here")
        async with begun(executor, "exec", "x") as second:
            assert "Another run works in that folder" in await error_line(second)
            [waiting] = [r for r in await executor.runs() if r.run.state is RunState.QUEUED]
            await executor.command("runs", "cancel", waiting.run.run_id)
            assert "cancelled" in await error_line(second)
            assert await asyncio.wait_for(second.wait(), 10) == 1
    await executor.command("pause", "--reason", "video call")
    async with begun(executor, "exec", "x") as paused:
        assert "(video call)" in await error_line(paused)
    await executor.command("stop")


@pytest.mark.slow
async def test_drain_lets_the_run_end_and_then_the_executor(
    executor: ExecutorProcess, claude: StubClaude
) -> None:
    executor.start("--standalone", "--no-gui")
    await executor.online()
    async with begun(executor, "exec", turn(gate("here"), say("finished\n"))) as process:
        await claude.reached("here")
        assert (await executor.command("drain")).code == 0
        refused = await executor.command("exec", "one more")
        assert refused.code == 1
        claude.open("here")
        await line_with(process, "finished")
        await asyncio.wait_for(process.wait(), 15)
        assert process.returncode == 0
    assert await executor.gone() == 0


@pytest.mark.slow
async def test_logs_go_on_over_rotations_and_repeat_nothing(executor: ExecutorProcess) -> None:
    log = executor.home / "logs" / "executor.log"
    log.parent.mkdir(parents=True)
    log.write_text("old 1\nold 2\n")
    async with begun(executor, "logs", "-f", "-n", "1") as process:
        assert await line_with(process, "") == "old 2\n"
        for number in range(3):
            with log.open("a") as file:
                file.write(f"before {number}\n")
            log.rename(log.with_suffix(f".{number}"))
            log.write_text(f"after {number}\n")
            assert await line_with(process, "") == f"before {number}\n"
            assert await line_with(process, "") == f"after {number}\n"
        process.send_signal(signal.SIGINT)
        out, err = await asyncio.wait_for(process.communicate(), 10)
    assert (out, err.strip(), process.returncode) == (b"", b"", 130)


async def test_a_reader_that_leaves_early_is_no_error(executor: ExecutorProcess) -> None:
    log = executor.home / "logs" / "executor.log"
    log.parent.mkdir(parents=True)
    log.write_text("x" * 200_000 + "\n")
    reading, writing = os.pipe()
    os.close(reading)
    argv = [sys.executable, "-m", "executor_core", "logs"]
    done = await asyncio.to_thread(
        subprocess.run,
        argv,
        env=executor.env,
        cwd=ROOT,
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)
    assert done.stderr == b""


@pytest.mark.slow
async def test_a_login_is_used_by_the_running_executor_at_once(
    executor: ExecutorProcess, tmp_path: Path
) -> None:
    hub = HubServer(tmp_path)
    await hub.start()
    executor.env["WEGENT_BACKEND_URL"] = hub.url
    login = ("login", "--file", "--token", "-")
    refused = await executor.command(*login, stdin="a-wrong-token")
    assert (refused.code, "token" in refused.err) == (5, True)
    executor.env["WEGENT_AUTH_TOKEN"] = "a-wrong-token"
    executor.start()
    await executor.until_status(
        lambda status: status.links[0].state is LinkState.REJECTED, "rejected"
    )
    assert (await executor.command("status")).code == 5
    done = await executor.command(*login, stdin=hub.hub.device_token())
    assert done.code == 0
    assert "restart" not in done.out
    await executor.online()
    assert (await executor.command("status")).code == 0
    executor.clean_up()
    await hub.stop()
