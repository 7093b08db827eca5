"""The asyncio loop on top of Qt's, so that windows and the executor share one thread.

qasync does the sockets, pipes and signals. Its timers are replaced: it keeps one coarse Qt timer
per callback (5 % late, 24 days at most, left armed when cancelled); here one queue, one heap and
one precise timer serve them all, which is also what asyncio itself does.

While the loop lives, Python's collector of reference cycles runs on this thread alone, and only
when nothing waits to be deleted: started by an allocation in another thread, or over a window that
Qt is about to delete, it takes things apart that Qt still uses, which ends the process.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import heapq
import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from PySide6.QtCore import QObject, Qt, QTimerEvent, Signal
from PySide6.QtWidgets import QApplication

# isort: split
# It takes the Qt binding that it finds imported.
import qasync  # type: ignore[import-untyped]

from desktop.system.deletion import delete_now

TURN_S = 0.008
"""How long callbacks may keep the window from being painted."""
LONGEST_TIMER_MS = 3_600_000
THREADS = 8
_FEW_CANCELLED = 100


class _Pump(QObject):
    """Wakes the loop: now, from another thread, or at a time."""

    wake = Signal()

    def __init__(self, run: Callable[[], None]) -> None:
        super().__init__()
        self._run = run
        self._now = 0
        self._later = 0
        self.wake.connect(self.kick, Qt.ConnectionType.QueuedConnection)

    @property
    def is_armed(self) -> bool:
        return self._later != 0

    def kick(self) -> None:
        if not self._now:
            self._now = self.startTimer(0)

    def arm(self, delay_s: float) -> None:
        self.disarm()
        ms = min(max(1, math.ceil(delay_s * 1000)), LONGEST_TIMER_MS)
        self._later = self.startTimer(ms, Qt.TimerType.PreciseTimer)

    def disarm(self) -> None:
        if self._later:
            self.killTimer(self._later)
            self._later = 0

    def stop(self) -> None:
        self.disarm()
        if self._now:
            self.killTimer(self._now)
            self._now = 0

    def timerEvent(self, event: QTimerEvent) -> None:
        timer = event.timerId()
        self.killTimer(timer)
        if timer == self._now:
            self._now = 0
        if timer == self._later:
            self._later = 0
        self._run()


class DesktopLoop(qasync.QEventLoop):  # type: ignore[misc]  # qasync has no types
    """An asyncio loop. A QApplication must exist. Any: what callbacks take is theirs to know."""

    def __init__(self) -> None:
        self._queue: deque[asyncio.Handle] = deque()
        self._heap: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._armed_for: float | None = None
        self._count = 0
        self._cancelled = 0
        self._pump = _Pump(self._run_ready)
        super().__init__(QApplication.instance())
        gc.disable()
        self.set_default_executor(ThreadPoolExecutor(THREADS, "desktop"))

    def call_soon(
        self,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        handle = self._queued(callback, args, context)
        self._pump.kick()
        return handle

    def call_soon_threadsafe(
        self,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        handle = self._queued(callback, args, context)
        self._pump.wake.emit()
        return handle

    def _queued(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
    ) -> asyncio.Handle:
        self._check_closed()
        handle = asyncio.Handle(callback, args, self, context)
        self._queue.append(handle)
        return handle

    def _add_callback(self, handle: asyncio.Handle, delay: float = 0) -> asyncio.Handle:
        """What qasync calls when a signal, a socket or a pipe has news."""
        self._queue.append(handle)
        self._pump.wake.emit()
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + max(0.0, delay), callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        self._check_closed()
        handle: Any = asyncio.TimerHandle(when, callback, args, self, context)
        handle._scheduled = True
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, handle))
        if self._armed_for is None or when < self._armed_for:
            self._arm()
        timer: asyncio.TimerHandle = handle
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """asyncio's own hook. Cancelled timers are thrown away many at a time."""
        self._cancelled += 1
        if self._cancelled > _FEW_CANCELLED and self._cancelled * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if not entry[2].cancelled()]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def _arm(self) -> None:
        while self._heap and self._heap[0][2].cancelled():
            heapq.heappop(self._heap)
        self._armed_for = self._heap[0][0] if self._heap else None
        if self._armed_for is None:
            self._pump.disarm()
        else:
            self._pump.arm(self._armed_for - self.time())

    def run_forever(self) -> None:
        self._pump.kick()
        super().run_forever()

    def _run_ready(self) -> None:
        if not self.is_running():
            return  # Qt's events may be handled before and after; callbacks wait for the loop.
        now = self.time()
        while self._heap and self._heap[0][0] <= now:
            handle: Any = heapq.heappop(self._heap)[2]
            handle._scheduled = False
            self._queue.append(handle)
        if self._armed_for is None or self._armed_for <= now or not self._pump.is_armed:
            self._arm()
        end = time.perf_counter() + TURN_S
        for _ in range(len(self._queue)):
            handle = self._queue.popleft()
            if not handle.cancelled():
                handle._run()
            if time.perf_counter() > end:
                break
        if self._queue:
            self._pump.kick()
        _collect_garbage()

    def close(self) -> None:
        super().close()
        self._pump.stop()
        self._queue.clear()
        self._heap.clear()
        delete_now()
        gc.enable()


def _collect_garbage() -> None:
    """When and how thoroughly Python would by itself."""
    counts, limits = gc.get_count(), gc.get_threshold()
    for generation in (2, 1, 0):
        if counts[generation] > limits[generation]:
            delete_now()
            gc.collect(generation)
            return
