"""Agents that speak the Agent Client Protocol: how one is defined, found and started.

What is said on its pipes is `acp_dialogue`; that module needs the protocol's own library, which is
imported only when such an agent runs.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path, PurePath
from typing import Any

from executor_core.agents.agent import Agent, Assignment, Emit
from executor_core.agents.catalog import AcpDefinition, KnownAgent, successor_of
from executor_core.agents.failures import notice
from executor_core.agents.host import AgentHost
from executor_core.agents.mcp import ToolServers, mcp_servers
from executor_core.agents.repository import found, refuse
from executor_core.errors import ExecutorError
from executor_core.model import AgentOffer, AgentResult, Availability
from executor_core.process import worth_telling
from executor_core.texts import text

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_BUILT_IN = frozenset({"claude_code", "codex", "codex_exec", "demo", "opencode"})
SETTINGS: Mapping[str, tuple[str, ...]] = {
    "auggie": (".augment/settings.json", ".augment/settings.local.json"),
    "cline": (".cline", ".clinerules/hooks"),
    "copilot": (".github/hooks", ".github/copilot", ".mcp.json", ".vscode/mcp.json"),
    "cursor": (
        ".cursor/cli.json",
        ".cursor/hooks.json",
        ".cursor/mcp.json",
        ".cursor/sandbox.json",
    ),
    "gemini": (".gemini", ".env"),
    "goose": (".goose", ".env"),
    "kimi": (".kimi", ".kimi.toml", ".mcp.json", ".env"),
    "mistral_vibe": (".vibe", ".env"),
    "qwen_code": (".qwen", ".env"),
    "claude_acp": (".claude", ".mcp.json"),
    "codebuddy": (".codebuddy", ".mcp.json"),
    "codex_acp": (".codex",),
    "dirac": (".dirac", ".clinerules/hooks"),
    "droid": (".factory",),
    "grok": (".grok",),
    "junie": (".junie",),
    "kilo": (".kilo", ".kilocode", ".opencode", "kilo.json", "opencode.json"),
    "pi": (".pi",),
    "qoder": (".qoder", ".mcp.json"),
    "vtcode": (".vtcode", "vtcode.toml"),
}
"""What in a folder configures an agent: nothing in the protocol keeps it from obeying that."""
_ANY = tuple(sorted({name for names in SETTINGS.values() for name in names}))
_KEYS = frozenset({"name", "title", "command", "env"})


class AcpAgent(Agent):
    """One program of the user's that speaks the protocol on its standard streams."""

    def __init__(self, host: AgentHost, definition: AcpDefinition) -> None:
        self._host = host
        self._definition = definition

    @property
    def name(self) -> str:
        return self._definition.name

    async def availability(self) -> Availability:
        """Whether its program is there. Whether it is signed in only a run can tell."""
        wanted = self._definition
        program = await self._host.find(wanted.command[0])
        problem = None if program else missing(wanted).message
        return Availability(
            name=wanted.name,
            title=wanted.title,
            is_usable=program is not None,
            path=str(program) if program else None,
            problem=problem,
            remark=self._remark,
            variables=worth_telling({*self._host.variables, *wanted.env}),
        )

    async def offer(self, folder: Path) -> AgentOffer:
        """What it says of itself when it is asked; its empty session works in `folder`.

        Raises ExecutorError where it is not there or does not speak the protocol.
        """
        definition = self._definition
        program = await self._host.program(definition.command[0], missing(definition))
        await load_protocol()
        from executor_core.agents.acp_dialogue import offer_of

        argv = [str(program), *definition.command[1:]]
        return await offer_of(self._host, definition.title, argv, definition.env, folder)

    async def run(self, assignment: Assignment, emit: Emit, stop: asyncio.Event) -> AgentResult:
        definition, model = self._definition, assignment.model
        program = await self._host.program(definition.command[0], missing(definition))
        files = await asyncio.to_thread(
            found, assignment.folder, SETTINGS.get(definition.name, _ANY)
        )
        refuse(assignment, definition.title, files)
        if model.model or model.brings_access:
            # Where a model is named differs from agent to agent, and so do its names.
            emit(notice("notice.model_not_passed", agent=definition.title))
        await self._tell_of_missing_servers(assignment, emit)
        env = definition.env if model.brings_access else {**model.env, **definition.env}
        await load_protocol()
        from executor_core.agents.acp_dialogue import AcpDialogue

        return await self._host.drive(
            AcpDialogue(assignment, definition.title),
            [str(program), *definition.command[1:]],
            assignment,
            emit,
            stop,
            env=self._host.environment(env),
        )

    async def _tell_of_missing_servers(self, assignment: Assignment, emit: Emit) -> None:
        """The protocol tells nothing of servers that do not start; this much can be known."""
        title = self._definition.title
        servers, _ = mcp_servers(assignment.mcp_servers, agent=title)
        states = ToolServers(servers, title)
        for server in servers:
            if server.kind != "stdio" or "PATH" in server.env:
                continue  # what a PATH of its own leads to is not ours to find
            program = server.command
            if os.path.dirname(program):
                program = str(assignment.folder / program)
            if await self._host.find(program) is None:
                reason = text("mcp.no_program", program=server.command)
                for told in states.told(server.name, "failed", reason):
                    emit(told)

    @property
    def _remark(self) -> str | None:
        """What took its place, where it is not kept up any more."""
        program = PurePath(self._definition.command[0]).stem
        newer = successor_of(program)
        if newer is None:
            return None
        return text("agents.superseded", program=program, name=newer.name, title=newer.title)


def missing(definition: AcpDefinition) -> ExecutorError:
    """Its program was not found; with what gets it, where we know that."""
    title, program = definition.title, definition.command[0]
    if not isinstance(definition, KnownAgent):
        return ExecutorError("acp_agent_missing", agent=title, program=program)
    return ExecutorError("agent_not_installed", agent=title, program=program, name=definition.name)


async def load_protocol() -> None:
    """Import what speaks it: half a second and 20 MB, so not on the loop, nor unasked."""
    await asyncio.to_thread(import_module, "executor_core.agents.acp_dialogue")


def definitions_from(tables: object) -> tuple[AcpDefinition, ...]:
    """The agents that the user configured: a list of tables with `name`, `command`, maybe `env`.

    `command` is a command line or a list of arguments; its first part is a program on the user's
    PATH or an absolute path. A name of the built-in agents is refused; one of the catalogue
    is meant to replace it. Raises ExecutorError("acp_agent_invalid") naming the entry, from 1.
    """
    found: dict[str, AcpDefinition] = {}
    for number, table in enumerate(tables if isinstance(tables, list) else [tables], 1):
        definition = _definition(table, number)
        if definition.name in found or definition.name in _BUILT_IN:
            raise _invalid(number, text("acp.reason.taken", name=definition.name))
        found[definition.name] = definition
    return tuple(found.values())


def _definition(table: object, number: int) -> AcpDefinition:
    if not isinstance(table, dict):
        raise _invalid(number, text("acp.reason.table"))
    if unknown := sorted(map(str, table.keys() - _KEYS)):
        raise _invalid(number, text("acp.reason.unknown", key=unknown[0]))
    name, env = table.get("name"), table.get("env", {})
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _invalid(number, text("acp.reason.name"))
    title = table.get("title", name)
    if not isinstance(title, str) or not title.strip():
        raise _invalid(number, text("acp.reason.title"))
    if not isinstance(env, dict) or not all(isinstance(part, str) for part in env.values()):
        raise _invalid(number, text("acp.reason.env"))
    command = _command(table.get("command"))
    if not command:
        raise _invalid(number, text("acp.reason.command"))
    return AcpDefinition(name=name, title=title.strip(), command=command, env=env)


def _command(value: Any) -> tuple[str, ...]:  # whatever stands in the file
    """Its parts; none if it is no command."""
    if isinstance(value, str):
        try:
            value = shlex.split(value)
        except ValueError:  # a quotation mark without its pair
            return ()
    is_command = isinstance(value, list) and all(isinstance(part, str) for part in value)
    return tuple(value) if is_command and value and value[0].strip() else ()


def _invalid(number: int, reason: str) -> ExecutorError:
    return ExecutorError("acp_agent_invalid", number=number, reason=reason)
