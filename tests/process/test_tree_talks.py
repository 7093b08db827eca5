"""A tree's pipes: every line arrives, nothing blocks, memory stays bounded."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import psutil
import pytest

from executor_core.errors import ExecutorError
from executor_core.process import ProcessTree
from executor_core.process.tree import _starts
from tests.process.children import carriers_of, first_line, new_marker, python, shell, spawn, until


async def test_lines_exit_code_and_stderr_arrive() -> None:
    tree = await spawn(shell("echo one; printf two; echo oops >&2; exit 3"))
    assert [line async for line in tree.lines()] == [b"one", b"two"]
    assert await tree.wait() == 3
    assert tree.stderr_tail == "oops"
    await tree.end()


async def test_a_program_ended_by_a_signal_has_a_negative_code() -> None:
    tree = await spawn(shell("kill -9 $$"))
    assert await tree.wait() == -9
    await tree.end()


async def test_the_child_sees_exactly_the_given_environment_and_the_marker() -> None:
    marker = new_marker()
    tree = await spawn(["/usr/bin/env"], marker=marker)
    seen = {line.decode().split("=")[0] async for line in tree.lines()}
    await tree.end()
    assert seen == {"PATH", "LANG", "WEGENT_RUN_MARKER"}


async def test_what_is_written_is_read_and_the_end_is_seen() -> None:
    tree = await spawn(["/bin/cat"])
    text = "字" * 1_000_000

    async def write() -> bool:
        written = await tree.write(text.encode() + b"\n")
        tree.close_stdin()
        return written

    written, line = await asyncio.gather(write(), first_line(tree))
    assert written
    assert line.decode() == text
    assert await tree.wait() == 0
    await tree.end()


async def test_exit_before_reading_stdin_is_not_an_error() -> None:
    tree = await spawn(shell("exit 0"))
    async with asyncio.timeout(10):
        await tree.write(b"x" * 3_000_000)
    assert await tree.wait() == 0
    await tree.end()
    assert await tree.write(b"more") is False
    tree.close_stdin()


async def test_ten_megabytes_of_stderr_first_do_not_block() -> None:
    code = "import sys; sys.stderr.write('e' * 10_000_000 + '\\nend\\n'); print('done')"
    tree = await spawn(python(code))
    assert await first_line(tree) == b"done"
    await tree.wait()
    await tree.end()
    assert tree.stderr_tail == "end"


async def test_bytes_that_are_no_utf8_and_split_characters_pass_unchanged() -> None:
    code = (
        "import os\n"
        "for part in (b'\\xff\\xfe\\n', '字'.encode()[:1], '字'.encode()[1:] + b'\\n'):\n"
        "    os.write(1, part)\n"
    )
    tree = await spawn(python(code))
    assert [line async for line in tree.lines()] == [b"\xff\xfe", "字".encode()]
    await tree.end()


async def test_lines_end_soon_after_the_exit_while_a_grandchild_holds_stdout() -> None:
    tree = await spawn(shell("sleep 1000 & echo last; exit 0"))
    async with asyncio.timeout(10):
        assert [line async for line in tree.lines()] == [b"last"]
    await tree.end()


async def test_a_late_reader_gets_all_of_a_program_whose_pipe_a_grandchild_holds() -> None:
    code = (
        "import fcntl, os, subprocess\n"
        "fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, 2**20)\n"
        "for n in range(1900): os.write(1, b'%999d\\n' % n)\n"
        "subprocess.Popen(['/bin/sleep', '1000'])\n"
    )
    tree = await spawn(python(code))
    assert await tree.wait() == 0
    await until(tree._pipes.drained.is_set)
    assert [int(line) async for line in tree.lines()] == list(range(1900))
    await tree.end()


def is_full(tree: ProcessTree) -> bool:
    return not tree._pipes._is_reading


async def test_a_program_that_nobody_listens_to_is_made_to_wait() -> None:
    before = psutil.Process().memory_info().rss
    tree = await spawn(["/usr/bin/yes", "x" * 1023])
    root = psutil.Process(tree.pid)
    await until(lambda: root.status() == psutil.STATUS_SLEEPING and is_full(tree))
    assert psutil.Process().memory_info().rss - before < 16_000_000
    assert await first_line(tree) == b"x" * 1023
    await tree.end()


@pytest.mark.parametrize(
    ("argv", "cwd"),
    [
        (["/no/such/program"], Path("/")),
        (["/etc/passwd"], Path("/")),
        (["/bin/sh"], Path("/no/such/folder")),
        (["/bin/sh", "nul\0byte"], Path("/")),
    ],
)
async def test_a_refused_start_is_an_error_that_names_the_program(
    argv: list[str], cwd: Path
) -> None:
    with pytest.raises(ExecutorError) as caught:
        await spawn(argv, cwd=cwd)
    assert caught.value.code == "spawn_failed"
    assert argv[0] in caught.value.message.detail


async def test_too_many_open_files_is_an_error_and_leaks_none() -> None:
    import resource

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    # Not one more: with room for some of the pipes, Python 3.11.2 itself leaks those.
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
    try:
        with pytest.raises(ExecutorError, match="spawn_failed"):
            await spawn(shell("exit 0"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


async def test_a_relative_program_is_refused() -> None:
    with pytest.raises(ValueError, match="absolute"):
        await spawn(["sh"])


async def test_a_cancelled_spawn_leaves_nothing() -> None:
    marker = new_marker()
    starting = asyncio.Task(spawn(shell("setsid sleep 1000 & sleep 1000"), marker=marker))
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    # Not even the start itself: a loop that closes now would cancel it, and hang with it.
    assert not _starts._jobs
    assert not carriers_of(marker)


async def test_resources_count_the_whole_tree() -> None:
    tree = await spawn(shell("setsid sleep 1000 & sleep 1000 & echo ready; wait"))
    await first_line(tree)
    used = await tree.resources()
    assert used.processes == 3
    assert used.rss_bytes > 0
    await tree.end()
    assert (await tree.resources()).processes == 0


async def volume(code: str) -> tuple[int, int, int]:
    """Lines, skipped lines, and how much memory grew at most while reading."""
    us = psutil.Process()
    before = peak = us.memory_info().rss
    tree = await spawn(python(code))
    count = 0
    done = asyncio.Event()

    async def watch() -> None:
        nonlocal peak
        while not done.is_set():
            peak = max(peak, us.memory_info().rss)
            await asyncio.sleep(0.005)

    watching = asyncio.Task(watch())
    async for _ in tree.lines():
        count += 1
    done.set()
    await watching
    assert await tree.wait() == 0
    await tree.end()
    return count, tree.skipped_lines, peak - before


async def test_a_line_that_is_left_out_is_said_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    count, skipped, _ = await volume("print('x' * 17 * 2**20); print('after')")
    assert (count, skipped) == (2, 1)
    assert "1 lines over 16 MiB were left out" in caplog.text


@pytest.mark.slow
async def test_one_gigabyte_in_one_line_is_skipped_in_bounded_memory() -> None:
    code = (
        "import os\n"
        "def out(data):\n"
        "    while data: data = data[os.write(1, data):]\n"
        "for _ in range(1024): out(b'x' * 2**20)\n"
        "out(b'\\nafter\\n')\n"
    )
    count, skipped, growth = await volume(code)
    assert (count, skipped) == (2, 1)
    assert growth <= 64 * 2**20


@pytest.mark.slow
async def test_one_gigabyte_in_many_lines_arrives_in_bounded_memory() -> None:
    code = (
        "import os\n"
        "def out(data):\n"
        "    while data: data = data[os.write(1, data):]\n"
        "block = (b'x' * 1023 + b'\\n') * 1024\n"
        "for _ in range(1024): out(block)\n"
    )
    count, skipped, growth = await volume(code)
    assert (count, skipped) == (2**20, 0)
    assert growth <= 64 * 2**20


@pytest.mark.slow
async def test_lines_of_sixteen_megabytes_arrive_in_bounded_memory() -> None:
    code = (
        "import os\n"
        "def out(data):\n"
        "    view = memoryview(data)\n"
        "    while view: view = view[os.write(1, view):]\n"
        "for _ in range(20): out(b'x' * 2**24 + b'\\n')\n"
    )
    count, skipped, growth = await volume(code)
    assert (count, skipped) == (20, 0)
    assert growth <= 64 * 2**20
