"""Claude Code: its command, and the environment that it gets."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from executor_core.agents import claude_repository, task_variables
from executor_core.agents.agent import Agent, Assignment, Emit
from executor_core.agents.claude_dialogue import ClaudeDialogue
from executor_core.agents.claude_failures import TITLE
from executor_core.agents.claude_remarks import PERMISSION_MODES
from executor_core.agents.drive import drive
from executor_core.agents.extra_args import Extra, checked_extra_args
from executor_core.agents.host import AgentHost, Probe
from executor_core.agents.instructions import READS_IT, unread_instructions
from executor_core.agents.loose_json import Json
from executor_core.agents.mcp import McpServer, mcp_servers, without_keys
from executor_core.agents.repository import withheld
from executor_core.agents.scratch import MCP_FILE, forget_secrets, write_secret
from executor_core.errors import ExecutorError
from executor_core.model import (
    AgentEvent,
    AgentResult,
    Availability,
    ModelConfig,
    Permission,
    SessionStarted,
)

NAME = "claude_code"
MINIMUM_VERSION = (2, 1, 20)
"""Older ones cannot take instructions of a folder without its settings."""

EXTRA_ARGS = {
    "--max-turns": Extra(r"[1-9]\d{0,3}", "N"),
    "--max-budget-usd": Extra(r"\d{1,4}(\.\d{1,2})?", "AMOUNT"),
    "--effort": Extra("low|medium|high|xhigh|max", "low|medium|high|xhigh|max"),
    "--fallback-model": Extra(r"[A-Za-z0-9][\w.:/@\[\]-]{0,199}", "MODEL"),
}

_UNFIT = frozenset({"openai-responses", "gemini"})
"""Kinds of model API that it cannot speak. Gateways that call themselves `openai` often can."""
_CHANGING = ("Bash", "PowerShell", "Edit", "MultiEdit", "Write", "NotebookEdit")
_VENDOR_VARIABLES = re.compile(
    r"ANTHROPIC_|AWS_BEARER_TOKEN_BEDROCK|MAX_THINKING_TOKENS"
    r"|CLAUDE_CODE_(USE_|SKIP_|OAUTH_|API_KEY|CLIENT_|EXTRA_BODY|MAX_OUTPUT_|SUBAGENT_MODEL)",
    re.IGNORECASE,
)
_EXPANDED = re.compile(r"\$\{")
"""What it replaces by a variable in the settings of tool servers, in headers even twice."""
_QUIET = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "CLAUDE_CODE_DISABLE_FEEDBACK_SURVEY": "1",
    "CLAUDE_CODE_STARTUP_FAILURE_RESULTS": "1",
}
_WATCHDOG = {
    "CLAUDE_ENABLE_BYTE_WATCHDOG": "1",
    "CLAUDE_BYTE_STREAM_IDLE_TIMEOUT_MS": "180000",
    "CLAUDE_ENABLE_STREAM_WATCHDOG": "1",
}
"""An answer in which nothing comes for so long, not even a sign of life, is asked for again; three
minutes are the vendor's own value for its own service. With another service 2.1.197 knows only the
last of these, which takes five minutes at least."""
MAX_RETRIES = "6"
"""The CLI's own ten take more than three minutes; these take half a minute. A task may say more."""


class ClaudeCode(Agent):
    """The user's own `claude`."""

    name = NAME
    extra_args = EXTRA_ARGS
    enforces = frozenset(PERMISSION_MODES)
    can_fork = True
    takes_members = True
    task_variables = task_variables.CLAUDE_CODE

    def __init__(self, host: AgentHost) -> None:
        self._host = host

    async def availability(self) -> Availability:
        return await self._host.availability(
            Probe(
                name=NAME,
                title=TITLE,
                program="claude",
                missing="claude_code_missing",
                not_signed_in="claude_code_not_signed_in",
                minimum_version=MINIMUM_VERSION,
                login_command=("auth", "status"),
            )
        )

    async def run(self, assignment: Assignment, emit: Emit, stop: asyncio.Event) -> AgentResult:
        program = await self._host.find("claude")
        if program is None:
            raise ExecutorError("claude_code_missing")
        if assignment.model.protocol in _UNFIT:
            raise ExecutorError("model_unfit", agent=TITLE, protocol=assignment.model.protocol)

        # In the system prompt, because a file of ours would be one more in the user's repository.
        reads_it = assignment.is_trusted and self._host.known_version(NAME) >= READS_IT
        unread = await asyncio.to_thread(unread_instructions, assignment.folder, reads_it=reads_it)
        instructions = "\n\n".join(filter(None, (assignment.system_prompt, unread)))
        assignment = replace(assignment, system_prompt=instructions)

        def hear(event: AgentEvent) -> None:
            if isinstance(event, SessionStarted):
                # It has read its files by now, and its tools need not find them.
                forget_secrets(assignment.scratch)
            emit(event)

        servers, notices = mcp_servers(assignment.mcp_servers, agent=TITLE, expands=_EXPANDED)
        for notice in (*notices, *withheld(assignment, TITLE, claude_repository.SETTINGS)):
            emit(notice)
        env = self._host.environment(
            variables(assignment, is_root=self._host.is_root),
            without=_VENDOR_VARIABLES if assignment.brings_access else None,
        )
        servers = [without_keys(server, env) for server in servers]
        argv = await asyncio.to_thread(arguments, assignment, servers)
        try:
            return await drive(
                ClaudeDialogue(assignment, background_s=self._host.background_wait_s),
                [str(program), *argv],
                cwd=assignment.folder,
                env=env,
                marker=self._host.marker(assignment.run_id),
                clock=self._host.clock,
                emit=hear,
                stop=stop,
                is_awaited=assignment.is_awaited,
            )
        finally:
            forget_secrets(assignment.scratch)


def arguments(assignment: Assignment, servers: Sequence[McpServer] = ()) -> list[str]:
    """The command line behind the program; writes the files that it names.

    Neither prompt nor secret stands in it.
    """
    argv = ["-p", "--input-format", "stream-json", "--output-format", "stream-json"]
    argv += ["--verbose", "--include-partial-messages", "--strict-mcp-config"]
    argv += ["--permission-mode", PERMISSION_MODES[assignment.permission]]
    # A question has nobody to answer it and would hold the run for ever.
    unwanted = ["AskUserQuestion"]
    unwanted += _CHANGING if assignment.permission is Permission.READ_ONLY else ()
    argv += ["--disallowedTools=" + ",".join(unwanted)]
    if not assignment.is_trusted:
        argv += claude_repository.arguments(assignment)
    if assignment.model.model and not assignment.brings_access:
        argv += [f"--model={assignment.model.model}"]
    if assignment.session_id:
        argv += [f"--resume={assignment.session_id}"]
        if assignment.is_fork:
            argv += ["--fork-session"]
    if assignment.system_prompt:
        # A file, because one argument may hold 128 KiB at most and is visible to everyone here.
        path = assignment.scratch / "system_prompt.md"
        path.write_text(assignment.system_prompt, encoding="utf-8")
        argv += [f"--append-system-prompt-file={path}"]
    if servers:
        path = assignment.scratch / MCP_FILE
        config = {"mcpServers": {server.name: _mcp_server(server) for server in servers}}
        write_secret(path, msgspec.json.encode(config))
        argv += [f"--mcp-config={path}"]
    return argv + checked_extra_args(NAME, EXTRA_ARGS, assignment.extra_args)


def _mcp_server(server: McpServer) -> Json:
    if server.kind == "stdio":
        kept: Json = {"command": server.command, "args": server.args, "env": server.env}
    else:
        kept = {"url": server.url, "headers": server.headers}
    return {"type": server.kind, **kept}


def variables(assignment: Assignment, *, is_root: bool) -> dict[str, str]:
    """The environment of the run on top of the user's own."""
    env = {"CLAUDE_CODE_MAX_RETRIES": MAX_RETRIES, **_WATCHDOG, **assignment.model.env} | _QUIET
    if not assignment.is_trusted:
        env |= claude_repository.VARIABLES
    if is_root:
        # Without this the CLI refuses unattended work as root.
        env["IS_SANDBOX"] = "1"
    if assignment.private_home is not None:
        env["CLAUDE_CONFIG_DIR"] = str(assignment.private_home)
    if assignment.brings_access:
        env |= _access(assignment.model)
    return env


def _access(model: ModelConfig) -> dict[str, str]:
    """A task's own model access, complete: the user's settings of this vendor are taken away."""
    base_url = (model.base_url or "").rstrip("/").removesuffix("/v1")
    env: dict[str, str] = {}
    if base_url:
        env["ANTHROPIC_BASE_URL"] = base_url
    if model.api_key:
        # The vendor takes its keys in a header of their own, gateways take bearer tokens.
        is_vendor = not base_url or base_url == "https://api.anthropic.com"
        env["ANTHROPIC_API_KEY" if is_vendor else "ANTHROPIC_AUTH_TOKEN"] = model.api_key
    if model.model:
        env["ANTHROPIC_MODEL"] = model.model
        small = model.small_model or model.model
        env["ANTHROPIC_SMALL_FAST_MODEL"] = env["ANTHROPIC_DEFAULT_HAIKU_MODEL"] = small
    if model.headers:
        lines = (" ".join(f"{name}: {value}".split()) for name, value in model.headers.items())
        env["ANTHROPIC_CUSTOM_HEADERS"] = "\n".join(lines)
    return env
