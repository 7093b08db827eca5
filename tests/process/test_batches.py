"""Lines that are there at once are read at once, and cheaply."""

from __future__ import annotations

from executor_core.process.pipes import Pipes
from tests.process.children import shell, spawn


async def batches_of(pipes: Pipes) -> list[list[bytes]]:
    pipes.pipe_connection_lost(1, None)
    return [batch async for batch in pipes.batches()]


async def test_what_is_there_comes_together_in_order_and_bounded() -> None:
    pipes = Pipes()
    lines = [b"%d" % number for number in range(450)]
    pipes.pipe_data_received(1, b"\n".join(lines) + b"\n")

    batches = await batches_of(pipes)

    assert [line for batch in batches for line in batch] == lines
    assert [len(batch) for batch in batches] == [200, 200, 50]


async def test_a_batch_of_long_lines_is_short() -> None:
    pipes = Pipes()
    pipes.pipe_data_received(1, (b"x" * 40_000 + b"\n") * 5)
    assert [len(batch) for batch in await batches_of(pipes)] == [2, 2, 1]


async def test_who_reads_line_by_line_may_leave_the_rest_to_the_next() -> None:
    tree = await spawn(shell("echo one; echo two; echo three"))
    await tree.wait()
    async for line in tree.lines():
        assert line == b"one"
        break
    assert [line async for line in tree.lines()] == [b"two", b"three"]
    await tree.end()
