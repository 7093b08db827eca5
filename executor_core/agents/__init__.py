"""Coding agents, one file each behind one small interface.

This room knows how to find, start, understand and end an agent. It does not know why a run exists.
"""

from executor_core.agents.agent import Agent, Assignment, Dialogue, Emit
from executor_core.agents.claude_code import ClaudeCode
from executor_core.agents.demo import DemoAgent
from executor_core.agents.failures import Remedy, remedy
from executor_core.agents.host import AgentHost, Probe
from executor_core.agents.registry import Agents, agents_here
from executor_core.agents.scratch import forget_secrets, with_usable_images

__all__ = [
    "Agent",
    "AgentHost",
    "Agents",
    "Assignment",
    "ClaudeCode",
    "DemoAgent",
    "Dialogue",
    "Emit",
    "Probe",
    "Remedy",
    "agents_here",
    "forget_secrets",
    "remedy",
    "with_usable_images",
]
