"""What belongs to a run is known by what it cannot lose, and only what belongs to it."""

from __future__ import annotations

import asyncio
import os
import sys
from uuid import uuid4

import psutil
import pytest

from executor_core.process import MARKER, ProcessTree, marker_of
from executor_core.process.marker import is_tag, is_tag_of, signs_of, tag_of
from tests.process.children import first_line, is_alive, new_marker, python, spawn, until

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has tags")

_DAEMON = """
import os, sys
sys.stdin.readline()
for _ in range({count}):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.chdir("/")
            told = os.dup(1)
            os.closerange(0, 3)
            os.set_inheritable(told, True)
            script = 'echo $$ >&%d; exec %d>&-; exec /bin/sleep 1000' % (told, told)
            os.execve("/bin/sh", [{name!r}, "-c", script], {{}})
        os._exit(0)
    os.wait()
"""
"""Forks twice, leaves session, folder, descriptors and environment; tells only its number."""


async def orphans_of(tree: ProcessTree, count: int = 1) -> list[psutil.Process]:
    await tree.write(b"go\n")
    found = []
    async with asyncio.timeout(30):
        async for line in tree.lines():
            found.append(psutil.Process(int(line)))
            if len(found) == count:
                break
    for orphan in found:
        await until(lambda orphan=orphan: orphan.name() == "sleep")  # type: ignore[misc]
        assert MARKER not in orphan.environ()
        assert os.getsid(orphan.pid) != tree.pid
    return found


def daemon(count: int = 1, name: str = "sh") -> list[str]:
    return python(_DAEMON.format(count=count, name=name) + "import time; time.sleep(1000)")


@linux_only
@pytest.mark.parametrize("count", [1, 50])
async def test_a_daemon_that_left_everything_behind_is_ended_with_its_run(count: int) -> None:
    tree = await spawn(daemon(count, name="[kworker/0:1]"))
    orphans = await orphans_of(tree, count)

    await tree.end()

    assert not [orphan for orphan in orphans if is_alive(orphan)]


@linux_only
async def test_a_cleaned_environment_does_not_save_a_server_after_a_normal_end() -> None:
    script = "import subprocess, sys; sys.stdin.readline(); subprocess.run(%r, shell=True)"
    server = "(env -i setsid nohup sh -c 'echo $$; exec /bin/sleep 1000' 2>/dev/null &)"
    tree = await spawn(python(script % server))
    [orphan] = await orphans_of(tree)
    assert await tree.wait() == 0

    await tree.end()

    assert not is_alive(orphan)


@linux_only
async def test_runs_side_by_side_do_not_end_each_others_orphans() -> None:
    one, other = await spawn(daemon(3)), await spawn(daemon(3))
    ours, theirs = await orphans_of(one, 3), await orphans_of(other, 3)

    await one.end()

    assert not [orphan for orphan in ours if is_alive(orphan)]
    assert all(map(is_alive, theirs))
    await other.end()
    assert not [orphan for orphan in theirs if is_alive(orphan)]


@linux_only
@linux_only
async def test_a_program_has_its_tag_from_the_start_and_we_keep_none() -> None:
    import resource

    before = resource.prlimit(0, 15)
    marker = new_marker()
    tree = await spawn(python("import resource\nprint(resource.getrlimit(15)[0])"), marker=marker)
    assert int(await first_line(tree)) == tag_of(marker)
    assert resource.prlimit(0, 15) == before
    await tree.end()


async def test_where_tags_are_forbidden_the_marker_still_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("executor_core.process._posix._prlimit", forbidden)
    code = "import subprocess\nsubprocess.Popen(['setsid', 'sleep', '1000'])\nprint('ready')"
    tree = await spawn(python(code))
    await first_line(tree)
    await tree.wait()
    await tree.end()


def test_a_tag_tells_owner_and_run_apart() -> None:
    owner, other = uuid4().hex, uuid4().hex
    tags = {tag_of(marker_of(name, run)) for name in (owner, other) for run in ("1", "2")}

    assert len(tags) == 4
    assert all(map(is_tag, tags))
    assert {tag for tag in tags if is_tag_of(tag, owner)} == {
        tag_of(marker_of(owner, run)) for run in ("1", "2")
    }


@pytest.mark.parametrize("limit", [-1, 0, 200_000, 2**62, 2**63 - 1])
def test_what_somebody_else_limited_is_no_tag(limit: int) -> None:
    assert not is_tag(limit)


def test_a_marker_and_its_tag_are_the_signs_of_a_run() -> None:
    marker = new_marker()
    assert signs_of(marker) == {marker, tag_of(marker)}
