"""OpenCode: its command and its private configuration.

It speaks the Agent Client Protocol (`opencode acp`), which streams word by word. Facts of it are
those of version 1.18.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from executor_core.agents.acp import load_protocol
from executor_core.agents.agent import UNATTENDED_ONLY, Agent, Assignment, Emit
from executor_core.agents.host import AgentHost, Probe, parts_of, too_new
from executor_core.agents.mcp import ToolServers, mcp_servers
from executor_core.agents.opencode_dialogue import TITLE, ModelCheck, OpenCodeDialogue
from executor_core.agents.repository import found, refuse, withheld
from executor_core.agents.scratch import write_secret
from executor_core.errors import ExecutorError
from executor_core.model import (
    AgentResult,
    Availability,
    ModelConfig,
    Permission,
)

_Json = dict[str, Any]

NAME = "opencode"
MINIMUM_VERSION = (1, 0, 0)
BELOW_VERSION = (2,)
"""Version 2 reads other keys (`providers`, with `package` for `npm`): a task's access, and what it
may do, would not reach it. Its program is `opencode` too, or this one from npm's package."""
NEWER_PROGRAM = "opencode2"
ARGUMENTS = ("acp", "--print-logs", "--log-level", "INFO")

_TASK_PROVIDER = "task"
_VENDOR = "opencode"
"""The provider whose free models it uses wherever nothing else is chosen."""
_LIMIT: _Json = {"limit": {"context": 128_000, "output": 8192}}
"""Of a task's model, which OpenCode does not know: every model in use takes that much."""
_SEES: _Json = {
    "attachment": True,
    "modalities": {"input": ["text", "image"], "output": ["text"]},
}
"""Without this it keeps images from a model that it does not know."""
_PACKAGES = {
    "anthropic": "@ai-sdk/anthropic",
    "openai": "@ai-sdk/openai-compatible",
    "openai-responses": "@ai-sdk/openai",
    "gemini": "@ai-sdk/google",
}
"""What speaks each kind of API; all are built in, so that nothing is fetched."""
_VENDOR_URLS = {
    "anthropic": "https://api.anthropic.com",
    "openai": "https://api.openai.com/v1",
    "openai-responses": "https://api.openai.com/v1",
    "gemini": "https://generativelanguage.googleapis.com/v1beta",
}
_VENDOR_VARIABLES = re.compile(r"ANTHROPIC_|(AZURE_)?OPENAI_|OPENCODE_", re.IGNORECASE)
_HOMES = ("CONFIG", "DATA", "STATE", "CACHE")
_QUIET = {
    "OPENCODE_DISABLE_AUTOUPDATE": "1",
    "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
    "OPENCODE_DISABLE_MODELS_FETCH": "1",
}
# Not with the user's own login: some logins are plugins.
_NO_PLUGINS = {"OPENCODE_PURE": "1", "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1"}
_PLUGIN = {"dependencies": {"@opencode-ai/plugin": "*"}}
# What is not named follows `*`. The rest is named too, since the user's own names would win.
_WORKSPACE_WRITE = {
    "*": "deny",
    **dict.fromkeys(("read", "edit", "glob", "grep", "list", "skill"), "allow"),
    **dict.fromkeys(("todoread", "todowrite"), "allow"),
    **dict.fromkeys(("bash", "task", "webfetch", "websearch", "codesearch"), "deny"),
    **dict.fromkeys(("doom_loop", "external_directory"), "deny"),
}
_RULES = {
    Permission.WORKSPACE_WRITE: _WORKSPACE_WRITE,
    Permission.READ_ONLY: _WORKSPACE_WRITE | {"edit": "deny"},
}
_COMMENT = re.compile(r"^\s*//.*$", re.MULTILINE)

_TASK_VARIABLES = frozenset(
    {
        *("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"),
        *("OPENAI_API_KEY", "OPENAI_BASE_URL"),
        *(
            "OPENCODE_EXPERIMENTAL_BASH_DEFAULT_TIMEOUT_MS",
            "OPENCODE_EXPERIMENTAL_OUTPUT_TOKEN_MAX",
        ),
    }
)


class OpenCode(Agent):
    """The user's own `opencode`."""

    name = NAME
    enforces = UNATTENDED_ONLY | _RULES.keys()
    task_variables = _TASK_VARIABLES

    def __init__(self, host: AgentHost) -> None:
        self._host = host

    async def availability(self) -> Availability:
        await self._host.ready()
        disabled = await asyncio.to_thread(disabled_providers, self._host.environment({}))
        config = {"disabled_providers": disabled}
        found = await self._host.availability(
            Probe(
                name=NAME,
                title=TITLE,
                program="opencode",
                missing="opencode_missing",
                not_signed_in="opencode_not_signed_in",
                minimum_version=MINIMUM_VERSION,
                below_version=BELOW_VERSION,
                # It lists what a login, a key or the configuration gives access to.
                login_command=("models",),
                login_variables={**_QUIET, "OPENCODE_CONFIG_CONTENT": json.dumps(config)},
                must_answer=True,
            )
        )
        newer = None if found.path else await self._host.find(NEWER_PROGRAM)
        if newer is None:
            return found
        problem = too_new(TITLE, ".".join(map(str, BELOW_VERSION[:1]))).message
        return msgspec.structs.replace(found, path=str(newer), problem=problem)

    async def run(self, assignment: Assignment, emit: Emit, stop: asyncio.Event) -> AgentResult:
        program = await self._host.program("opencode", ExecutorError("opencode_missing"))
        version = await self._host.version_of(NAME, program)
        if parts_of(version or "0") >= BELOW_VERSION:
            raise too_new(TITLE, version or "")
        if assignment.brings_access and not assignment.model.model:
            raise ExecutorError("opencode_not_signed_in")
        plugins = await asyncio.to_thread(plugins_in, assignment.folder)
        refuse(assignment, TITLE, plugins)
        for notice in withheld(assignment, TITLE, SETTINGS):
            emit(notice)
        disabled = await asyncio.to_thread(disabled_providers, self._host.environment({}))
        await load_protocol()
        from executor_core.agents.acp_dialogue import AcpDialogue

        dialogue = AcpDialogue(
            assignment, TITLE, takes_system_prompt=False, check_model=_check_model(assignment)
        )
        servers, _ = mcp_servers(assignment.mcp_servers, agent=TITLE)
        return await self._host.drive(
            OpenCodeDialogue(dialogue, ToolServers(servers, TITLE)),
            [str(program), *ARGUMENTS],
            assignment,
            emit,
            stop,
            env=self._host.environment(
                variables(assignment, disabled),
                without=_VENDOR_VARIABLES if assignment.brings_access else None,
            ),
        )


def disabled_providers(env: Mapping[str, str]) -> list[str]:
    """What the user switched off, and the vendor's own models.

    Those stay on only for a user who signed in to them or whose configuration names one. Reads the
    user's login and configuration below the folders that `env` names.
    """
    home = Path(env.get("HOME") or env.get("USERPROFILE") or ".")
    data = Path(env.get("XDG_DATA_HOME") or home / ".local" / "share") / "opencode"
    config = Path(env.get("XDG_CONFIG_HOME") or home / ".config") / "opencode"
    files = [config / name for name in ("config.json", "opencode.json", "opencode.jsonc")]
    if own := env.get("OPENCODE_CONFIG"):
        files.append(Path(own))
    merged: _Json = {}
    for file in files:
        merged |= _read(file)
    listed = merged.get("disabled_providers")
    names = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    is_chosen = str(merged.get("model")).startswith(f"{_VENDOR}/")
    if _VENDOR not in _read(data / "auth.json") and not is_chosen and _VENDOR not in names:
        names.append(_VENDOR)
    return names


def variables(assignment: Assignment, disabled: list[str]) -> dict[str, str]:
    """The environment of the run on top of the user's own; makes the folders and files it names."""
    env = dict(assignment.model.env) | _QUIET
    if assignment.brings_access:
        # Its provider is configured by us; what else names one must not reach it.
        env = {
            name: value for name, value in env.items() if not re.match("ANTHROPIC_|OPENAI_", name)
        }
        env |= _NO_PLUGINS
    if _is_alone(assignment):
        env["OPENCODE_DISABLE_PROJECT_CONFIG"] = "1"
    if assignment.private_home is not None:
        for name in _HOMES:
            env[f"XDG_{name}_HOME"] = str(assignment.private_home / name.lower())
        _seed(assignment.private_home / "config" / "opencode")
    env["OPENCODE_CONFIG_CONTENT"] = _as_it_stands(configuration(assignment, disabled))
    return env


def _as_it_stands(config: _Json) -> str:
    """JSON in which it finds no variable and no file of the owner's to put in."""
    return re.sub(r"\{(?=env:|file:)", r"\\u007b", json.dumps(config))


def configuration(assignment: Assignment, disabled: list[str]) -> _Json:
    """OpenCode's configuration for this run, over the user's own. It holds a task's key."""
    model = assignment.model
    config: _Json = {"share": "disabled", "autoupdate": False}
    if assignment.brings_access and model.model:
        small = model.small_model or model.model
        traits = _LIMIT | _SEES if assignment.images else _LIMIT
        config["provider"] = {_TASK_PROVIDER: _provider(model, traits)}
        config["enabled_providers"] = [_TASK_PROVIDER]
        config["model"] = f"{_TASK_PROVIDER}/{model.model}"
        config["small_model"] = f"{_TASK_PROVIDER}/{small}"
    else:
        config["disabled_providers"] = disabled
        if wanted := _own_model(model):
            config["model"] = wanted
    if (rules := _RULES.get(assignment.permission)) is not None:
        config["permission"] = rules
    read: list[str] = []
    if _is_alone(assignment):
        read += instructions_in(assignment.folder)
        config["skills"] = {"paths": skills_in(assignment.folder)}
    if assignment.system_prompt:
        path = assignment.scratch / "system_prompt.md"
        path.write_text(assignment.system_prompt, encoding="utf-8")
        read.append(str(path))
    if read:
        config["instructions"] = read
    return config


def _is_alone(assignment: Assignment) -> bool:
    """Whether the folder configures nothing: it could permit more than itself, or is foreign."""
    return assignment.permission in _RULES or not assignment.is_trusted


def _own_model(model: ModelConfig) -> str | None:
    """A model of the user's own access, if the task names one the way OpenCode does."""
    return model.model if model.model and "/" in model.model else None


def _provider(model: ModelConfig, traits: _Json) -> _Json:
    """The task's model access."""
    protocol = model.protocol if model.protocol in _PACKAGES else _guessed(model)
    is_claude = protocol == "anthropic"
    vendor = "ANTHROPIC" if is_claude else "OPENAI"
    given = {name: model.env.get(f"{vendor}_{name}", "") for name in ("API_KEY", "AUTH_TOKEN")}
    key = model.api_key or given["API_KEY"] or given["AUTH_TOKEN"]
    url = (model.base_url or model.env.get(f"{vendor}_BASE_URL") or "").rstrip("/")
    headers = dict(model.headers)
    if is_claude:
        if url and key and "api.anthropic.com" not in url:
            # The vendor takes its keys in a header of their own, gateways take bearer tokens.
            headers.setdefault("Authorization", f"Bearer {key}")
        url = (url or _VENDOR_URLS[protocol]).removesuffix("/v1") + "/v1"
    options: _Json = {"baseURL": url or _VENDOR_URLS[protocol], "headers": headers}
    options |= {"apiKey": key} if key else {}
    models = {name for name in (model.model, model.small_model) if name}
    return {
        "npm": _PACKAGES[protocol],
        "name": "Task",
        "options": options,
        "models": dict.fromkeys(sorted(models), traits),
    }


def _guessed(model: ModelConfig) -> str:
    """The kind of API where the task does not say it."""
    is_claude = (
        "anthropic" in (model.base_url or "")
        or (model.model or "").startswith("claude")
        or any(name.startswith("ANTHROPIC_") for name in model.env)
    )
    return "anthropic" if is_claude else "openai"


def _seed(folder: Path) -> None:
    """Make it look as if its plugin package were there: else it is fetched from a registry."""
    (folder / "node_modules").mkdir(parents=True, exist_ok=True)
    # Made anew: an agent before may have left links there.
    write_secret(folder / "package.json", json.dumps(_PLUGIN).encode())
    lock = {"lockfileVersion": 3, "packages": {"": _PLUGIN}}
    write_secret(folder / "package-lock.json", json.dumps(lock).encode())


def _read(file: Path) -> _Json:
    """A JSON object, also one with comment lines; empty for what cannot be read as one."""
    try:
        found = json.loads(_COMMENT.sub("", file.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _check_model(assignment: Assignment) -> ModelCheck:
    model = assignment.model
    own = f"{_TASK_PROVIDER}/{model.model}" if assignment.brings_access else _own_model(model)
    return ModelCheck(own)


_FILES = ("opencode.json", "opencode.jsonc")
SETTINGS = (*_FILES, ".opencode")
_INSTRUCTIONS = ("AGENTS.md", "CLAUDE.md", "CONTEXT.md")


def instructions_in(folder: Path) -> list[str]:
    """What it reads by itself elsewhere: files of one of these names, the outermost first."""
    kinds = (found(folder, (name,)) for name in _INSTRUCTIONS)
    return [str(file) for file in next(filter(None, kinds), ())]


def skills_in(folder: Path) -> list[str]:
    """The folders of skills that it looks into only with the settings."""
    return [str(path) for path in found(folder, (".opencode/skill", ".opencode/skills"))]


def plugins_in(folder: Path) -> list[Path]:
    """What it executes as it starts, whatever its environment says. Blocks.

    The folders of plugins, and every configuration that may name one.
    """
    folders = found(folder, (".opencode/plugin", ".opencode/plugins"))
    files = found(folder, (*_FILES, *(f".opencode/{name}" for name in _FILES)))
    return folders + [file for file in files if _may_name_plugins(file)]


def _may_name_plugins(file: Path) -> bool:
    try:
        words = file.read_text("utf-8", "replace") if file.is_file() else ""
    except OSError:
        return True
    return "plugin" in words or "\\u" in words  # an escape may spell it
