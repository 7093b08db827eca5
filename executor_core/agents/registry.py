"""The agents of this computer by name: ours, the user's own, and those of other packages."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Collection, Iterable, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from executor_core.agents.acp import AcpAgent, definitions_from
from executor_core.agents.agent import UNATTENDED_ONLY, Agent, checked_extra_args
from executor_core.agents.catalog import SignIn, known_agent, known_agents, nearest_names
from executor_core.agents.claude_code import ClaudeCode
from executor_core.agents.codex import EXEC_NAME, Codex, CodexExec
from executor_core.agents.host import LATE, AgentHost
from executor_core.agents.opencode import OpenCode
from executor_core.errors import ExecutorError
from executor_core.model import AgentOffer, Availability, Permission, Value
from executor_core.texts import text

_log = logging.getLogger("executor.agents")

ENTRY_POINTS = "wegent_executor.agents"
"""Each is a callable `(host: AgentHost) -> Agent`."""
CHECK_LIMIT_S = 55.0
"""One agent that does not come back must not hide the others; ours answer within 50 s."""

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_NOT_CHECKED = "agent_not_checked"
_NOT_KNOWN = frozenset({LATE, _NOT_CHECKED})


class Agents:
    """All agents, and which one stands in (standalone mode only) where one cannot work.

    Those of `only_if_found` may be asked for by name, but are listed only where they are installed;
    those of `hidden` are not listed at all.
    """

    def __init__(
        self,
        agents: Iterable[Agent],
        stand_in: str | None = None,
        only_if_found: Collection[str] = (),
        hidden: Collection[str] = (),
    ) -> None:
        self._agents = {agent.name: agent for agent in agents}
        self._stand_in = stand_in
        self._only_if_found = frozenset(only_if_found)
        self._hidden = frozenset(hidden)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._agents)

    def get(self, name: str) -> Agent:
        """The agent `name`, usable or not. Raises ExecutorError("agent_unknown")."""
        if name not in self._agents:
            # The names of the protocol's registry differ a little from ours.
            known = known_agent(name)
            if known is None or known.name not in self._agents:
                raise self._unknown(name)
            name = known.name
        return self._agents[name]

    def _unknown(self, name: str) -> ExecutorError:
        unnamed = self._only_if_found | self._hidden
        named = [known for known in self._agents if known not in unnamed]
        nearest = [one for one in nearest_names(name, named) if one in self._agents]
        guess = text("agents.did_you_mean", names=", ".join(nearest)) if nearest else ""
        return ExecutorError("agent_unknown", agent=name, known=", ".join(named), guess=guess)

    def check_extra_args(self, name: str, given: Sequence[str]) -> None:
        """Raises ExecutorError("agent_unknown") or ("extra_arg_refused")."""
        # Agents of other packages need not have a table.
        table = getattr(self.get(name), "extra_args", {})
        checked_extra_args(name, table, given)

    def check_permission(self, name: str, wanted: Permission) -> None:
        """Raises ExecutorError("permission_not_enforced") if the agent cannot be held to it."""
        held = getattr(self.get(name), "enforces", UNATTENDED_ONLY)
        if wanted not in held:
            known = ", ".join(text(f"permission.{one}") for one in Permission if one in held)
            words = text(f"permission.{wanted}")
            raise ExecutorError("permission_not_enforced", agent=name, wanted=words, known=known)

    async def stand_in_for(self, name: str) -> tuple[Agent, Availability] | None:
        """The agent to use instead of `name`, which is not on this computer; None: use it itself.

        One that is here says by itself what it lacks, and one that could not be looked at is not
        known to be missing.
        """
        if self._stand_in is None or name == self._stand_in:
            return None
        found = await _check(self.get(name))
        is_here = found.is_usable or found.path is not None
        if is_here or (found.problem is not None and found.problem.code in _NOT_KNOWN):
            return None
        return self.get(self._stand_in), found

    async def availability(self) -> tuple[Availability, ...]:
        """Every agent, probed side by side."""
        listed = [agent for name, agent in self._agents.items() if name not in self._hidden]
        # Not gather: where it is cancelled it waits for the first of them only.
        async with asyncio.TaskGroup() as group:
            checks = [group.create_task(_check(agent)) for agent in listed]
        found = [check.result() for check in checks]
        return tuple(one for one in found if one.path or one.name not in self._only_if_found)


async def _check(agent: Agent) -> Availability:
    """What `agent` says of itself; one that fails at that cannot be used."""
    try:
        async with asyncio.timeout(CHECK_LIMIT_S):
            return await agent.availability()
    except TimeoutError:
        problem = ExecutorError(LATE, agent=agent.name, path="").message
    except Exception as error:
        _log.exception("agent %s cannot be looked at", agent.name)
        reason = f"{type(error).__name__}: {error}"[:200]
        problem = ExecutorError(_NOT_CHECKED, agent=agent.name, reason=reason).message
    return Availability(name=agent.name, title=agent.name, is_usable=False, problem=problem)


def agents_here(
    host: AgentHost, configured: tuple[Any, ...], stand_in: Agent | None = None
) -> Agents:
    """Every agent that this computer may have.

    `configured` are the user's own ones, as `definitions_from` takes them; one with the name of a
    known agent replaces it. Raises ExecutorError("acp_agent_invalid").
    """
    own = definitions_from(list(configured))
    replaced = {definition.name for definition in own}
    known = [agent for agent in known_agents() if agent.name not in replaced]
    agents: list[Agent] = [ClaudeCode(host), Codex(host), OpenCode(host), CodexExec(host)]
    agents += [AcpAgent(host, definition) for definition in own]
    if stand_in is not None:
        agents.append(stand_in)
    # Before the known ones: what somebody installed here on purpose wins over our mere table.
    agents += third_party(host, taken={agent.name for agent in agents})
    taken = {agent.name for agent in agents}
    found: list[Agent] = [AcpAgent(host, one) for one in known if one.name not in taken]
    return Agents(
        agents + found,
        stand_in=stand_in.name if stand_in else None,
        only_if_found=[agent.name for agent in found],
        hidden=[EXEC_NAME],
    )


def third_party(host: AgentHost, taken: Collection[str]) -> list[Agent]:
    """The agents of other installed packages. A broken one is logged and left out."""
    found: dict[str, Agent] = {}
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        agent = _made(point, host)
        if agent is None:
            continue
        if agent.name in found or agent.name in taken:
            _log.warning("agent %s of %s is left out: the name is taken", agent.name, point.value)
            continue
        found[agent.name] = agent
    return list(found.values())


def _made(point: EntryPoint, host: AgentHost) -> Agent | None:
    """The agent of one entry point; None if the package does not hold what it promises."""
    try:
        agent = point.load()(host)
        if not isinstance(agent.name, str) or not _NAME.fullmatch(agent.name):
            raise ValueError(f"{agent.name!r} is not a name")
        if not callable(agent.availability) or not callable(agent.run):
            raise TypeError("it has no availability() and run()")
    except Exception:
        # Foreign code: whatever it does wrong, the executor starts.
        _log.exception("agent %s (%s) is left out", point.name, point.value)
        return None
    made: Agent = agent
    return made


class CheckedAgent(Value, kw_only=True, frozen=True, omit_defaults=False):
    """An agent as it was found, what it offers, and how to sign in where we know it."""

    agent: Availability
    offer: AgentOffer
    sign_in: SignIn | None = None


async def checked_agent(agent: Agent, folder: Path) -> CheckedAgent:
    """Ask `agent`; an agent of the protocol is started, with an empty session in `folder`.

    The others were seen in depth by our tests, and are only looked at. Raises ExecutorError where
    the agent is not there, or does not answer.
    """
    found = await agent.availability()
    if isinstance(agent, AcpAgent):
        return CheckedAgent(agent=found, offer=await agent.offer(folder))
    if found.version is None and found.problem is not None:
        raise ExecutorError("agent_not_checked", agent=found.title, reason=found.problem.sentence)
    is_signed_out = found.problem is not None and found.problem.code.endswith("_not_signed_in")
    offer = AgentOffer(
        version=found.version,
        resumes=True,
        takes_images=True,
        needs_login=is_signed_out,
    )
    return CheckedAgent(agent=found, offer=offer)
