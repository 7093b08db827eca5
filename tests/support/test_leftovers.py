import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from executor_core.jobs import Jobs
from tests.support import leftovers

SLEEPER = [sys.executable, "-c", "import sys; sys.stdin.read()"]


@pytest.fixture(autouse=True)
def _no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "_GRACE_S", 0.01)


def test_an_open_file_is_named(tmp_path: Path) -> None:
    before = leftovers.snapshot()
    with (
        (tmp_path / "left.txt").open("w"),
        pytest.raises(AssertionError, match=r"left\.txt"),
    ):
        leftovers.check(before)
    leftovers.check(before)


def test_a_living_child_is_named() -> None:
    before = leftovers.snapshot()
    with subprocess.Popen(SLEEPER, stdin=subprocess.PIPE) as child:
        with pytest.raises(AssertionError, match=str(child.pid)):
            leftovers.check(before)
        with pytest.raises(AssertionError, match=str(child.pid)):
            leftovers.check_marked_processes()
    leftovers.check(before)
    leftovers.check_marked_processes()


def test_a_running_thread_is_named() -> None:
    before = leftovers.snapshot()
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="left-thread")
    thread.start()
    with pytest.raises(AssertionError, match="left-thread"):
        leftovers.check(before)
    end.set()
    thread.join()
    leftovers.check(before)


async def test_a_waiting_job_is_named() -> None:
    jobs = Jobs("room")
    jobs.spawn(asyncio.Event().wait(), "left")
    with pytest.raises(AssertionError, match="room/left"):
        await leftovers.check_jobs()
    await jobs.close()
    await leftovers.check_jobs()
