"""Claude Code: its command, the environment that it gets, and what a folder may bring for it.

With the source `project` Claude Code (2.1.197 to 2.1.332) reads instructions and settings alike;
without it, neither. So in a folder that is not trusted only the user's own settings are its source,
and instructions, skills, commands and sub-agents come another way: as an additional folder, whose
instructions it reads where `_REPOSITORY_VARIABLES` say so, and as a plugin.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

import msgspec
from msgspec.structs import replace

from executor_core.agents.agent import Agent, Assignment, Emit, Extra, checked_extra_args
from executor_core.agents.claude_dialogue import ClaudeDialogue
from executor_core.agents.claude_notices import PERMISSION_MODES, TITLE
from executor_core.agents.host import AgentHost, Probe
from executor_core.agents.json_access import Json
from executor_core.agents.mcp import McpServer, mcp_servers, without_keys
from executor_core.agents.repository import places, read, withheld
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

_TASK_VARIABLES = frozenset(
    {
        # the model, its key and its address
        *("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"),
        *("ANTHROPIC_BETAS", "ANTHROPIC_CUSTOM_HEADERS", "ANTHROPIC_CUSTOM_MODEL_OPTION"),
        *("ANTHROPIC_MODEL", "ANTHROPIC_SMALL_FAST_MODEL", "CLAUDE_CODE_SUBAGENT_MODEL"),
        *("ANTHROPIC_DEFAULT_HAIKU_MODEL", "ANTHROPIC_DEFAULT_OPUS_MODEL"),
        "ANTHROPIC_DEFAULT_SONNET_MODEL",
        # what that model or its gateway cannot do
        *("CLAUDE_CODE_ATTRIBUTION_HEADER", "CLAUDE_CODE_DISABLE_1M_CONTEXT"),
        *("CLAUDE_CODE_DISABLE_ADAPTIVE_THINKING", "CLAUDE_CODE_DISABLE_EXPERIMENTAL_BETAS"),
        *("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK"),
        *("CLAUDE_CODE_DISABLE_THINKING", "DISABLE_INTERLEAVED_THINKING", "ENABLE_TOOL_SEARCH"),
        *("DISABLE_PROMPT_CACHING", "DISABLE_PROMPT_CACHING_HAIKU"),
        *("DISABLE_PROMPT_CACHING_OPUS", "DISABLE_PROMPT_CACHING_SONNET"),
        # limits
        *("API_TIMEOUT_MS", "BASH_DEFAULT_TIMEOUT_MS", "BASH_MAX_OUTPUT_LENGTH"),
        *("BASH_MAX_TIMEOUT_MS", "CLAUDE_AUTOCOMPACT_PCT_OVERRIDE"),
        *("CLAUDE_CODE_AUTO_COMPACT_WINDOW", "CLAUDE_CODE_EFFORT_LEVEL"),
        *("CLAUDE_CODE_FILE_READ_MAX_OUTPUT_TOKENS", "CLAUDE_CODE_MAX_OUTPUT_TOKENS"),
        *("CLAUDE_CODE_MAX_RETRIES", "CLAUDE_CODE_MAX_TOOL_USE_CONCURRENCY"),
        *("MAX_MCP_OUTPUT_TOKENS", "MAX_THINKING_TOKENS", "MCP_TIMEOUT", "MCP_TOOL_TIMEOUT"),
    }
)


class ClaudeCode(Agent):
    """The user's own `claude`."""

    name = NAME
    extra_args = EXTRA_ARGS
    enforces = frozenset(PERMISSION_MODES)
    can_fork = True
    takes_members = True
    task_variables = _TASK_VARIABLES

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
        program = await self._host.program("claude", ExecutorError("claude_code_missing"))
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
        for notice in (*notices, *withheld(assignment, TITLE, SETTINGS)):
            emit(notice)
        env = self._host.environment(
            variables(assignment, is_root=self._host.is_root),
            without=_VENDOR_VARIABLES if assignment.brings_access else None,
        )
        servers = [without_keys(server, env) for server in servers]
        argv = await asyncio.to_thread(arguments, assignment, servers)
        try:
            return await self._host.drive(
                ClaudeDialogue(assignment, background_s=self._host.background_wait_s),
                [str(program), *argv],
                assignment,
                hear,
                stop,
                env=env,
                may_outlast_answer=True,
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
        argv += repository_arguments(assignment)
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
        env |= _REPOSITORY_VARIABLES
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


SETTINGS = (".claude/settings.json", ".claude/settings.local.json", ".mcp.json")
_REPOSITORY_VARIABLES = {"CLAUDE_CODE_ADDITIONAL_DIRECTORIES_CLAUDE_MD": "1"}
PLUGIN = "project"
"""What skills and commands of the folder are called by: `project:NAME`."""

_KINDS = ("skills", "commands", "agents")
_MAX_NESTED = 50
_MAX_FOLDERS = 5000


def repository_arguments(assignment: Assignment) -> list[str]:
    """The part of the command line that does it; writes the files that it names. Blocks."""
    argv = ["--setting-sources=user", f"--add-dir={assignment.folder}"]
    if words := "\n\n".join(_further_instructions(assignment.folder)):
        notes = assignment.scratch / "instructions"
        notes.mkdir(exist_ok=True)
        (notes / "CLAUDE.md").write_text(words, encoding="utf-8")
        argv += [f"--add-dir={notes}"]
    if _gathered(assignment.folder, plugin := assignment.scratch / "plugin"):
        argv += [f"--plugin-dir={plugin}"]
    return argv


def _further_instructions(folder: Path) -> Iterator[str]:
    """What Claude Code would find by itself, but not in an additional folder."""
    inner = folder.resolve()
    for place in reversed(inner.parents):
        files = [place / "CLAUDE.md", place / "CLAUDE.local.md"]
        if place in places(inner):
            files += [place / ".claude" / "CLAUDE.md", *_rules(place)]
        for file in files:
            if words := read(file):
                yield f"Instructions of {file}:\n\n{words}"
    if words := read(inner / "CLAUDE.local.md"):
        yield f"Instructions of {inner / 'CLAUDE.local.md'}:\n\n{words}"
    if nested := list(_nested(inner)):
        listed = "\n".join(f"- {file}" for file in nested)
        yield f"Before you work in a folder with a file of these, read that file:\n{listed}"


def _rules(place: Path) -> list[Path]:
    return sorted((place / ".claude" / "rules").glob("**/*.md"))[:_MAX_NESTED]


def _nested(folder: Path) -> Iterator[Path]:
    """Instructions of folders inside, which are there to be read when work comes to them."""
    count = 0
    for root, names, files in islice(os.walk(folder), _MAX_FOLDERS):
        names[:] = sorted(n for n in names if not n.startswith(".") and n != "node_modules")
        if Path(root) != folder and "CLAUDE.md" in files and count < _MAX_NESTED:
            yield Path(root, "CLAUDE.md")
            count += 1


def _gathered(folder: Path, plugin: Path) -> bool:
    """Make `plugin` hold all skills, commands and sub-agents; whether there are any.

    A plugin's sub-agents bring no hooks, tool servers or permissions of their own.
    """
    shutil.rmtree(plugin, ignore_errors=True)
    for place in reversed(places(folder)):  # of two with one name the nearer counts
        for kind in _KINDS:
            source, target = place / ".claude" / kind, plugin / kind
            for entry in sorted(source.iterdir()) if source.is_dir() else ():
                target.mkdir(parents=True, exist_ok=True)
                if not os.path.lexists(target / entry.name):
                    _bring(entry, target / entry.name)
    if not plugin.is_dir():
        return False
    manifest = plugin / ".claude-plugin" / "plugin.json"
    manifest.parent.mkdir()
    described = {"name": PLUGIN, "version": "1", "description": "What the folder brings"}
    manifest.write_text(json.dumps(described), encoding="utf-8")
    return True


def _bring(source: Path, target: Path) -> None:
    """A link for a folder, such as a skill with its scripts; Claude Code reads no linked files."""
    if source.is_dir() and target.parent.name == "skills":
        with suppress(OSError):  # Windows asks for a right to make links
            target.symlink_to(source, target_is_directory=True)
            return
    with suppress(OSError):  # what cannot be read counts for nothing
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True)
        elif source.is_file():
            shutil.copyfile(source, target)


READS_IT = (2, 1, 277)
"""From here on it reads `AGENTS.md` where there is no `CLAUDE.md`, but in no other spelling, and
only with the settings of the folder."""

_OWN = ("CLAUDE.md", "CLAUDE.local.md", ".claude/CLAUDE.md")


def unread_instructions(folder: Path, *, reads_it: bool) -> str:
    """What `AGENTS.md` says, also spelt in another case, in `folder` and up to the top of its
    repository; without those that have instructions of Claude Code's own beside them, those that it
    reads itself (`reads_it`), and links that lead out. Blocking.
    """
    return "\n\n".join(filter(None, (_unread(place, reads_it) for place in places(folder))))


def _unread(place: Path, reads_it: bool) -> str:
    try:
        names = sorted(os.listdir(place))
    except OSError:  # a run does not fail for what it would also do without
        return ""
    found = [name for name in names if name.lower() == "agents.md"]
    if not found or (reads_it and "AGENTS.md" in found):
        return ""
    if any((place / name).exists() for name in _OWN):
        return ""
    words = read(place / found[0])
    return f"Instructions of this project, from {place / found[0]}:\n\n{words}" if words else ""
