"""Five hundred readers of one run, one of whom hardly reads."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from executor_core.clock import SystemClock
from executor_core.executor.stream import FEW
from executor_core.jobs import Jobs
from executor_core.web.sse import WRITE_TIMEOUT_S
from tests.support.office import TOKEN, Office

READERS = 500
SMALL, LARGE = 100, 25
LARGE_BYTES = 12_000
# What a stream may hold at once: its longest event (the last one, with the whole text) as read, as
# decoded and as sent, and the buffers of both ends.
MOST_GROWTH_BYTES = READERS * (4 * LARGE * LARGE_BYTES + 256 * 1024)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(autouse=True)
def enough_files() -> Iterator[None]:
    """Both ends of each connection are in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    """An executor on the real clock: what is slow here is the network."""
    office = Office(tmp_path, SystemClock())  # type: ignore[arg-type]
    await office.open()
    yield office
    await office.close()


class Reader:
    """A client as plain as can be: the ids that it has whole, in their order."""

    def __init__(self, port: int, run_id: str) -> None:
        self._port = port
        self._run_id = run_id
        self.ids: list[int] = []
        self.is_done = False
        self._rest = b""

    async def whole(self) -> None:
        """Read to the end, or until the other side hangs up."""
        async with self._connected() as reader:
            while not self.is_done and (data := await reader.read(2**16)):
                self.take(data)

    async def dribble(self) -> None:
        """Read one byte a second."""
        async with self._connected(buffer_bytes=4096) as reader:
            while data := await reader.read(1):
                self.take(data)
                await asyncio.sleep(1)

    @asynccontextmanager
    async def _connected(
        self, buffer_bytes: int | None = None
    ) -> AsyncIterator[asyncio.StreamReader]:
        with socket.socket() as connection:
            if buffer_bytes is not None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
            connection.setblocking(False)
            await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", self._port))
            reader, writer = await asyncio.open_connection(sock=connection, limit=2**12)
            self._rest = b""
            writer.write(
                f"GET /api/runs/{self._run_id}/events HTTP/1.1\r\n"
                f"Host: 127.0.0.1:{self._port}\r\nAuthorization: Bearer {TOKEN}\r\n"
                f"Last-Event-ID: {max(self.ids, default=0)}\r\n\r\n".encode()
            )
            try:
                with suppress(ConnectionError):
                    yield reader
            finally:
                writer.transport.abort()
                with suppress(ConnectionError):
                    await writer.wait_closed()

    def take(self, data: bytes) -> None:
        """Each event ends with an empty line; chunks of HTTP may cut it anywhere."""
        *whole, self._rest = (self._rest + data).split(b"\n\n")
        for event in whole:
            name = event.find(b"\nevent: ")
            start = event.find(b"id: ")
            if 0 <= start < name:
                self.ids.append(int(event[start + 4 : name]))
            self.is_done = self.is_done or b"event: done" in event


@pytest.fixture
async def reading(office: Office) -> AsyncIterator[Jobs]:
    """The readers' jobs, ended before the listener."""
    jobs = Jobs("readers")
    yield jobs
    await jobs.close()


async def test_one_who_hardly_reads_is_cut_off_and_costs_the_others_nothing(
    office: Office, reading: Jobs, record_property: Any
) -> None:
    run_id = await office.begin()
    port = office.listener.port
    before = psutil.Process().memory_info().rss
    readers = [Reader(port, run_id) for _ in range(READERS - 1)]
    read = [reading.spawn(reader.whole(), "reader") for reader in readers]
    slow = Reader(port, run_id)
    dribbling = reading.spawn(slow.dribble(), "slow reader")
    async with asyncio.timeout(30):
        while office.listener._open_streams < READERS:
            await asyncio.sleep(0.01)
    for number in range(SMALL):
        office.playing.say(f"{number} ")
        if number % FEW == 0:  # more of them at once would be joined
            await asyncio.sleep(0)
    for _ in range(LARGE):
        office.playing.say("x" * LARGE_BYTES)
        await asyncio.sleep(0.01)
    office.playing.finish()
    await asyncio.wait(read, timeout=60)
    everything = whole_story()
    assert {tuple(reader.ids) for reader in readers} == {everything}
    growth = psutil.Process().memory_info().rss - before
    record_property("growth_mb", growth // 2**20)
    assert growth < MOST_GROWTH_BYTES

    # The others are long done; the listener hangs up on the last one.
    async with asyncio.timeout(WRITE_TIMEOUT_S + 20):
        while office.listener._open_streams:
            await asyncio.sleep(0.1)
    dribbling.cancel()
    await asyncio.wait({dribbling})
    assert not slow.is_done
    assert len(slow.ids) < len(everything)
    await slow.whole()
    assert tuple(slow.ids) == everything


def whole_story() -> tuple[int, ...]:
    """The start, the texts, and the end; the agent's last word in between is not told."""
    return (*range(1, SMALL + LARGE + 2), SMALL + LARGE + 3)
