"""A TCP proxy on loopback whose cable can be pulled, pinched and slowed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from executor_core.jobs import Jobs

_CHUNK = 64 * 1024


class LossyProxy:
    """Forwards to `target` (host, port), which may change. Counts what passes."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.port = 0
        self.connections = 0
        """How many were accepted so far."""
        self.delay_s = 0.0
        self.bytes_to_target = 0
        self._jobs = Jobs("lossy proxy")
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await self._jobs.close()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Reset every connection, both ways, at once. New ones are taken."""
        for writer in self._writers:
            writer.transport.abort()

    def stall(self) -> None:
        """Half-open from now on: connections stand, nothing comes through, nobody is told."""
        self._flowing.clear()

    def flow(self) -> None:
        """What was held back comes through, and everything after it."""
        self._flowing.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        self._jobs.spawn(self._serve(reader, writer), "serve")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_writer: asyncio.StreamWriter | None = None
        ways = Jobs("lossy proxy connection")
        try:
            far_reader, far_writer = await asyncio.open_connection(*self.target)
            self._writers.add(far_writer)
            there = ways.spawn(self._pass_on(reader, far_writer, is_upward=True), "there")
            back = ways.spawn(self._pass_on(far_reader, writer, is_upward=False), "back")
            await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
        except OSError:
            pass  # the target is down: the client finds its connection closed
        finally:
            await ways.close()
            for end in filter(None, (writer, far_writer)):
                self._writers.discard(end)
                end.transport.abort()
                with suppress(OSError):  # it was reset already
                    await end.wait_closed()

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_upward: bool
    ) -> None:
        with suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                await self._flowing.wait()
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if is_upward:
                    self.bytes_to_target += len(chunk)
                writer.write(chunk)
                await writer.drain()


@asynccontextmanager
async def lossy_proxy(target: tuple[str, int]) -> AsyncIterator[LossyProxy]:
    """A running proxy."""
    proxy = LossyProxy(target)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
