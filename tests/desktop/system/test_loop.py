"""What asyncio promises and qasync alone does not keep."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import threading
import time

from PySide6.QtCore import QObject
from PySide6.QtWidgets import QApplication

from desktop.system.loop import DesktopLoop


def test_qt_does_not_eat_none(qapp: QApplication) -> None:
    # 6.12.0 took a reference to None with every call; on Python 3.11 that ends the process.
    thing = QObject()
    before = sys.getrefcount(None)
    for _ in range(1000):
        thing.killTimer(thing.startTimer(10_000))
    assert abs(sys.getrefcount(None) - before) < 200


async def test_tests_here_run_on_the_desktops_loop() -> None:
    assert isinstance(asyncio.get_running_loop(), DesktopLoop)


async def test_a_sleep_never_ends_early() -> None:
    for seconds in (0.0009, 0.004, 0.03):
        began = time.monotonic()
        await asyncio.sleep(seconds)
        assert time.monotonic() - began >= seconds


async def test_a_pause_of_a_month_is_no_overflow() -> None:
    handle = asyncio.get_running_loop().call_later(30 * 24 * 3600, print)
    assert handle.when() > time.monotonic()
    handle.cancel()


async def test_callbacks_come_in_the_order_they_were_asked_for() -> None:
    said: list[int] = []
    loop = asyncio.get_running_loop()
    for number in range(2000):
        loop.call_soon(said.append, number)
    done = asyncio.Event()
    loop.call_soon(done.set)
    await done.wait()
    assert said == list(range(2000))


async def test_timers_come_by_their_time() -> None:
    said: list[str] = []
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    loop.call_later(0.03, done.set)
    loop.call_later(0.02, said.append, "second")
    loop.call_later(0.01, said.append, "first")
    loop.call_later(0.015, said.append, "never").cancel()
    await done.wait()
    assert said == ["first", "second"]


async def test_cancelled_timers_are_thrown_away() -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, DesktopLoop)
    for _ in range(5000):
        loop.call_later(300, print).cancel()
    assert len(loop._heap) < 300


async def test_another_thread_may_call_and_keeps_the_context() -> None:
    loop = asyncio.get_running_loop()
    word = contextvars.ContextVar("word", default="none")
    context = contextvars.copy_context()
    context.run(word.set, "kept")
    heard: asyncio.Future[str] = loop.create_future()

    def call() -> None:
        loop.call_soon_threadsafe(lambda: heard.set_result(word.get()), context=context)

    await asyncio.to_thread(call)
    assert await heard == "kept"


async def test_a_child_process_is_heard_and_waited_for() -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "print('hello')", stdout=asyncio.subprocess.PIPE
    )
    out, _ = await child.communicate()
    assert (out.strip(), child.returncode) == (b"hello", 0)


def test_what_is_due_while_the_loop_does_not_run_waits_for_the_loop(qapp: QApplication) -> None:
    loop = DesktopLoop()
    try:
        said: list[int] = []
        loop.call_soon(said.append, 1)
        qapp.processEvents()
        assert said == []
        loop.run_until_complete(asyncio.sleep(0))
        assert said == [1]
    finally:
        loop.close()


class _Cycle:
    """Garbage that only the collector finds; it says on which thread it was found."""

    def __init__(self, found: list[int]) -> None:
        self.itself = self
        self.found = found

    def __del__(self) -> None:
        self.found.append(threading.get_ident())


async def test_garbage_is_collected_on_the_thread_of_the_windows_alone() -> None:
    found: list[int] = []

    def litter() -> None:
        for _ in range(5 * gc.get_threshold()[0]):
            _Cycle(found)

    await asyncio.to_thread(litter)
    while not found:
        await asyncio.sleep(0)
    assert set(found) == {threading.get_ident()}
