"""The agents of this computer by name."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from executor_core.agents.agent import Agent
from executor_core.errors import ExecutorError
from executor_core.model import Availability


class Agents:
    """All agents, and which one stands in (standalone mode only) where one cannot work."""

    def __init__(self, agents: Iterable[Agent], stand_in: str | None = None) -> None:
        self._agents = {agent.name: agent for agent in agents}
        self._stand_in = stand_in

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._agents)

    def get(self, name: str) -> Agent:
        """The agent `name`, usable or not. Raises ExecutorError("agent_unknown")."""
        if name not in self._agents:
            raise ExecutorError("agent_unknown", agent=name, known=", ".join(self._agents))
        return self._agents[name]

    async def stand_in_for(self, name: str) -> tuple[Agent, Availability] | None:
        """The agent to use instead of `name` and what is wrong with that; None: use it itself."""
        if self._stand_in is None or name == self._stand_in:
            return None
        found = await self.get(name).availability()
        return None if found.is_usable else (self.get(self._stand_in), found)

    async def availability(self) -> tuple[Availability, ...]:
        """Every agent, probed side by side."""
        looks = (agent.availability() for agent in self._agents.values())
        return tuple(await asyncio.gather(*looks))
