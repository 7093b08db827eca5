"""Prints our figures beside the original device's: `python -m tests.benchmarks`.

Real processes, a real hub and an agent that does exactly what it is told. Nothing here fails: a
figure that misses its aim is marked, and is for people to look into. Takes half a minute.
"""

from __future__ import annotations

import asyncio
import signal
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from executor_core.control import RemoteControl, Submission
from executor_core.jobs import Jobs
from executor_core.model import TextDelta
from tests.support import home
from tests.support.executor_process import ExecutorProcess, until
from tests.support.hub_server import HubServer
from tests.support.stub_claude import (
    StubClaude,
    be_stubborn,
    delta,
    flood,
    gate,
    say,
    talk,
    tell_time,
    turn,
)

REPEATS = 10
SIZE = 20_000_000


@dataclass
class Table:
    """Rows of: what, ours, the original's, the aim."""

    rows: list[tuple[str, str, str, str]] = field(default_factory=list)

    def add(self, what: str, ours: float, unit: str, original: str, aim: float | None) -> None:
        """`ours` and `aim` are in seconds, bytes or whatever `unit` formats."""
        mark = "" if aim is None or ours <= aim else "  MISSED"
        shown_aim = "" if aim is None else unit.format(aim)
        self.rows.append((what, unit.format(ours) + mark, original, shown_aim))

    def show(self) -> None:
        rows = [("", "ours", "original", "aim"), *self.rows]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))


class CountingProxy:
    """Between device and hub: counts what the device sends.

    The device knows this port only, and the hub answers to its own: the handshake is told so.
    """

    def __init__(self) -> None:
        self.sent_bytes = 0
        self._jobs = Jobs("proxy")

    async def start(self, server_url: str) -> str:
        port = int(server_url.rsplit(":", 1)[1])

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
            handshake = await reader.readuntil(b"\r\n\r\n")
            there_writer.write(handshake.replace(here.encode(), f"127.0.0.1:{port}".encode()))
            self._jobs.spawn(self._copy(there_reader, writer, 0), "to the device")
            self._jobs.spawn(self._copy(reader, there_writer, 1), "to the hub")

        self._server = await asyncio.start_server(connected, "127.0.0.1", 0)
        here = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return f"http://{here}"

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, factor: int
    ) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                self.sent_bytes += factor * len(data)
                writer.write(data)
                await writer.drain()
        writer.close()

    async def stop(self) -> None:
        self._server.close()
        await self._jobs.close()


@dataclass
class World:
    """One hub, one executor with stopwatches, one agent."""

    hub: HubServer
    executor: ExecutorProcess
    claude: StubClaude
    proxy: CountingProxy
    probes: Path

    def start(self) -> None:
        self.executor.start("--no-gui", module=("tests.benchmarks.probed", str(self.probes)))

    async def end(self) -> dict[str, list[float]]:
        """End the executor; what its stopwatches say."""
        if self.executor.is_alive:
            self.executor.signal(signal.SIGTERM)
        await self.executor.gone()
        moments: dict[str, list[float]] = {}
        for line in self.probes.read_text().splitlines():
            name, seconds = line.split(" ")
            moments.setdefault(name, []).append(float(seconds))
        return moments


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    with tempfile.TemporaryDirectory(prefix="wegent-benchmark-") as name:
        folder = Path(name)
        hub, proxy, claude = HubServer(folder), CountingProxy(), StubClaude(folder / "agent")
        await hub.start()
        executor = ExecutorProcess(folder, claude.bin)
        executor.connect_to(await proxy.start(hub.url), hub.hub.device_token())
        try:
            yield World(hub, executor, claude, proxy, folder / "probes")
        finally:
            executor.clean_up()
            await proxy.stop()
            await hub.stop()


async def start_up(table: Table) -> None:
    """From nothing to registered; then what it needs when nothing happens."""
    starts = []
    async with world() as w:
        for _ in range(5):
            began = time.monotonic()
            w.executor.start()
            await until(lambda: w.hub.online_count() or None, 20, "never registered")
            starts.append(time.monotonic() - began)
            await w.executor.online()
            w.executor.signal(signal.SIGTERM)
            await w.executor.gone()
            await until(lambda: not w.hub.online_count() or None, 20, "never gone")
        w.start()
        await w.executor.online()
        await w.executor.until_status(lambda _: "agent claude_code" in w.executor.log, "settled")
        await asyncio.sleep(2)  # whatever it still had to do
        memory = psutil.Process(w.executor.pid).memory_info().rss
        moments = await w.end()
    table.add("start to registered", statistics.median(starts), "{:.2f} s", "0.32 s", 0.5)
    for name, seconds in moments.items():
        if name.startswith("blocked:"):
            what = f"then longest callback ({name.removeprefix('blocked:')})"
            table.add(what, max(seconds) * 1000, "{:.0f} ms", "1700-4600 ms", 50)
    table.add("idle memory", memory / 2**20, "{:.0f} MB", "170 MB", 60)


async def one_task(table: Table) -> None:
    """From the dispatch to the process, and from the agent's line to the server."""
    async with world() as w:
        w.start()
        await w.executor.online()
        first_texts = []
        for _ in range(REPEATS):
            began = time.monotonic()
            sent = await w.hub.dispatch(turn(tell_time()))
            await w.hub.until_ended(sent)
            first_texts.append(w.hub.deltas[-1][0] - began)
        # Each line tells when it was written; words that come faster are sent together.
        steps = [step for _ in range(REPEATS) for step in (tell_time(), talk(1, 0.5, ""))]
        w.hub.deltas.clear()
        await w.hub.until_ended(await w.hub.dispatch(turn(*steps)))
        delays = [came - float(words.split()[0]) for came, words in w.hub.deltas]
        moments = await w.end()
    pairs = zip(moments["received"], moments["spawned"], strict=True)
    first, *others = (spawned - received for received, spawned in pairs)
    table.add("dispatch to process, first", first * 1000, "{:.0f} ms", "340 ms", 20)
    median = statistics.median(others)
    table.add("dispatch to process, median", median * 1000, "{:.0f} ms", "340 ms", 20)
    table.add("dispatch to first text", statistics.median(first_texts), "{:.2f} s", "1.11 s", None)
    table.add("agent line to server", statistics.median(delays) * 1000, "{:.1f} ms", "-", 10)


async def long_answer(table: Table) -> None:
    """1,000 deltas of ten characters, over five seconds."""
    async with world() as w:
        w.executor.start()
        await w.executor.online()
        before = w.proxy.sent_bytes
        sent = await w.hub.dispatch(turn(tell_time(), talk(1000, 5, "ten chars ")))
        await w.hub.until_ended(sent)
        sent_bytes = w.proxy.sent_bytes - before
        came, words = w.hub.deltas[0]
        table.add(
            "first text of 1,000 deltas in 5 s",
            came - float(words.split()[0]),
            "{:.3f} s",
            "6.4 s (at the end)",
            0.1,
        )
        pieces = len(w.hub.deltas)
        original = "110 kB"
        table.add(f"its bytes, in {pieces} pieces", sent_bytes / 1000, "{:.0f} kB", original, 110)


async def local_stream(table: Table) -> None:
    """From the agent's line to one client of the local API: the 99th of a hundred."""
    async with world() as w:
        w.executor.start()
        await w.executor.online()
        steps = [step for _ in range(300) for step in (tell_time(), talk(1, 0.02, ""))]
        async with RemoteControl.of_home(w.executor.home / "api.json") as control:
            run_id = await control.submit(Submission(prompt=turn(*steps)))
            delays = [
                time.monotonic() - float(event.text.split()[0])
                async for event in control.events(run_id)
                if isinstance(event, TextDelta) and event.text.strip()
            ]
    p99 = statistics.quantiles(delays, n=100)[-1]
    table.add("agent line to API client, p99", p99 * 1000, "{:.1f} ms", "-", 10)


async def small_lines(table: Table) -> None:
    """20 MB of deltas of five characters, as fast as they are read."""
    words = "word "
    async with world() as w:
        w.executor.start()
        await w.executor.online()
        count = SIZE // len(delta(words))
        async with RemoteControl.of_home(w.executor.home / "api.json") as control:
            run_id = await control.submit(Submission(prompt=turn(flood(count, words))))
            while (outcome := (await control.run(run_id)).outcome) is None:
                await asyncio.sleep(0.05)
        assert outcome.text == words * count
        began, ended = outcome.timings.first_text_at, outcome.timings.finished_at
        seconds = (ended - began).total_seconds() if began else 0.0
        table.add(f"20 MB in {count} small deltas", seconds, "{:.2f} s", "-", 1)


async def five_tasks(table: Table) -> None:
    """Five tasks of three seconds at once."""
    async with world() as w:
        w.executor.start()
        await w.executor.online()
        began = time.monotonic()
        turns = [await w.hub.dispatch(turn(talk(30, 3, "word "))) for _ in range(5)]
        for sent in turns:
            await w.hub.until_ended(sent)
        table.add("five 3-second tasks", time.monotonic() - began, "{:.1f} s", "22.7 s", 4)


async def quit_with_five(table: Table) -> None:
    """SIGTERM while five run: agents that listen, and agents that do not."""
    for what, steps in (("listening", []), ("stubborn", [be_stubborn()])):
        async with world() as w:
            w.executor.start()
            await w.executor.online()
            for n in range(5):
                await w.hub.dispatch(turn(*steps, say("x"), gate(f"g{n}")))
            for n in range(5):
                await w.claude.reached(f"g{n}")
            began = time.monotonic()
            w.executor.signal(signal.SIGTERM)
            await w.executor.gone()
            seconds = time.monotonic() - began
        table.add(f"SIGTERM with five {what} agents", seconds, "{:.1f} s", "over 110 s", 10)


async def main() -> None:
    table = Table()
    for measure in (
        start_up,
        one_task,
        long_answer,
        local_stream,
        small_lines,
        five_tasks,
        quit_with_five,
    ):
        await measure(table)
    table.show()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patch:
        home.move_into(Path(scratch), patch)
        asyncio.run(main())
