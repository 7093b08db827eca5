"""What an `exec` that nobody can ask leaves to be done, should it be killed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from executor_core.clock import SystemClock
from executor_core.config.layers import Config
from executor_core.process import last_will, sweep
from executor_core.services.computer import owner_of


def ends_its_runs(config: Config, own_command: Sequence[str]) -> AbstractContextManager[None]:
    """Should this process die inside the block, the processes of its runs are ended soon.

    Their records are mended by whoever opens them next.
    """
    return last_will([*own_command, "sweep", owner_of(config)])


async def carry_out(owner: str) -> None:
    """End what is older than this process. Who starts meanwhile has runs that are younger."""
    await sweep(owner, alive=(), clock=SystemClock())
