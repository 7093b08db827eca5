"""What `agents check` tells of one agent that is installed."""

from __future__ import annotations

from pathlib import Path

from executor_core.agents.acp import AcpAgent
from executor_core.agents.agent import Agent
from executor_core.agents.catalog import SignIn
from executor_core.errors import ExecutorError
from executor_core.model import AgentOffer, Availability, Value


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
