"""OpenCode: its command, its private configuration, and what its log tells while it is silent.

It speaks the Agent Client Protocol (`opencode acp`), which streams word by word. Over that protocol
it says nothing while it tries a failing model service again, nor when it asks one without end; its
log does, so that is read as well. Facts of the wire are those of version 1.18.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from executor_core.agents.acp import load_dialogue
from executor_core.agents.agent import Agent, Assignment, Dialogue, Emit
from executor_core.agents.drive import drive
from executor_core.agents.host import AgentHost, Probe
from executor_core.agents.opencode_repository import (
    SETTINGS,
    instructions_in,
    plugins_in,
    skills_in,
)
from executor_core.agents.repository import refuse, withheld
from executor_core.agents.scratch import write_secret
from executor_core.errors import ExecutorError
from executor_core.model import (
    AgentEvent,
    AgentResult,
    Availability,
    ErrorInfo,
    ModelConfig,
    Notice,
    Permission,
    SessionStarted,
)
from executor_core.texts import text

_Json = dict[str, Any]

NAME = "opencode"
TITLE = "OpenCode"
MINIMUM_VERSION = (1, 0, 0)
ARGUMENTS = ("acp", "--print-logs", "--log-level", "INFO")
MAX_ATTEMPTS = 6
"""How often OpenCode itself asks a failing model service, within about 70 seconds."""
MAX_UNREACHABLE = 3
"""How often it may fail to reach the service before it is stopped, after about 7 seconds."""
MAX_EMPTY_ANSWERS = 20
"""OpenCode asks again at once, and without end, where an answer is empty."""

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
_VENDOR_VARIABLES = re.compile(r"ANTHROPIC_|OPENAI_|OPENCODE_")
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
_FIELD = re.compile(r'([\w.]+)=("(?:[^"\\]|\\.)*"|\S*)')
_COMMENT = re.compile(r"^\s*//.*$", re.MULTILINE)


class OpenCode(Agent):
    """The user's own `opencode`."""

    name = NAME

    def __init__(self, host: AgentHost) -> None:
        self._host = host

    async def availability(self) -> Availability:
        disabled = await asyncio.to_thread(disabled_providers, self._host.environment({}))
        config = {"disabled_providers": disabled}
        return await self._host.availability(
            Probe(
                name=NAME,
                title=TITLE,
                program="opencode",
                minimum_version=MINIMUM_VERSION,
                # It lists what a login, a key or the configuration gives access to.
                login_command=("models",),
                login_variables={**_QUIET, "OPENCODE_CONFIG_CONTENT": json.dumps(config)},
                must_answer=True,
            )
        )

    async def run(self, assignment: Assignment, emit: Emit, stop: asyncio.Event) -> AgentResult:
        program = await self._host.find("opencode")
        if program is None:
            raise ExecutorError("opencode_missing")
        if assignment.model.brings_access and not assignment.model.model:
            raise ExecutorError("opencode_not_signed_in")
        plugins = await asyncio.to_thread(plugins_in, assignment.folder)
        refuse(assignment, TITLE, plugins)
        for notice in withheld(assignment, TITLE, SETTINGS):
            emit(notice)
        disabled = await asyncio.to_thread(disabled_providers, self._host.environment({}))
        make_dialogue = await asyncio.to_thread(load_dialogue)
        dialogue = make_dialogue(
            assignment, TITLE, takes_system_prompt=False, check_model=_check_model(assignment)
        )
        return await drive(
            OpenCodeDialogue(dialogue),
            [str(program), *ARGUMENTS],
            cwd=assignment.folder,
            env=self._host.environment(
                variables(assignment, disabled),
                without=_VENDOR_VARIABLES if assignment.model.brings_access else None,
            ),
            marker=self._host.marker(assignment.run_id),
            clock=self._host.clock,
            emit=emit,
            stop=stop,
        )


# --- configuration -------------------------------------------------------------------------------


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
    if assignment.model.brings_access:
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
    env["OPENCODE_CONFIG_CONTENT"] = json.dumps(configuration(assignment, disabled))
    return env


def configuration(assignment: Assignment, disabled: list[str]) -> _Json:
    """OpenCode's configuration for this run, over the user's own. It holds a task's key."""
    model = assignment.model
    config: _Json = {"share": "disabled", "autoupdate": False}
    if model.brings_access and model.model:
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
    if assignment.permission is Permission.WORKSPACE_WRITE:
        config["permission"] = _WORKSPACE_WRITE
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
    return assignment.permission is Permission.WORKSPACE_WRITE or not assignment.is_trusted


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


# --- the conversation ----------------------------------------------------------------------------


class _ModelCheck(Struct, frozen=True):
    """Refuses, before the prompt is sent, to let OpenCode choose a model that nobody asked for."""

    wanted: str | None

    def __call__(self, model: str | None, offered: frozenset[str]) -> ErrorInfo | None:
        if model is None:
            return None
        if not offered:
            return ExecutorError("opencode_not_signed_in").info
        if model not in offered or self.wanted not in (None, model):
            missing = self.wanted or model
            return ExecutorError("agent_model_missing", agent=TITLE, model=missing).info
        return None


def _check_model(assignment: Assignment) -> _ModelCheck:
    model = assignment.model
    own = f"{_TASK_PROVIDER}/{model.model}" if model.brings_access else _own_model(model)
    return _ModelCheck(own)


class OpenCodeDialogue:
    """`inner` speaks the protocol; this adds what only the log on stderr says."""

    def __init__(self, inner: Dialogue) -> None:
        self._inner = inner
        self._session_id: str | None = None
        self._empty_answers = 0
        self._failures = 0
        self._unreachable = 0
        self._failure = ""
        self._is_news = False

    def outgoing(self) -> bytes:
        return self._inner.outgoing()

    def interrupt(self) -> bytes | None:
        return self._inner.interrupt()

    def feed(self, line: bytes) -> Iterator[AgentEvent]:
        for event in self._inner.feed(line):
            if isinstance(event, SessionStarted):
                self._session_id = event.session_id
            self._empty_answers = 0
            yield self._named(event) if isinstance(event, AgentResult) else event

    def feed_stderr(self, line: bytes) -> Iterator[AgentEvent]:
        """Retries as notices; the end of a run that would go on for ever."""
        entry = _log_entry(line)
        if self._session_id is None or entry.get("session.id") != self._session_id:
            return
        if entry.get("small") == "true":  # it looks for a title
            return
        match entry.get("message"):
            case "loop":
                yield from self._asked_again()
            case "stream error":
                yield from self._failed(entry.get("error.error", ""))
            case "stream" if self._is_news:
                yield self._tries_again()

    def without_result(self, exit_code: int, stderr: str) -> AgentResult:
        said = [line for line in stderr.splitlines() if not line.startswith("timestamp=")]
        return self._inner.without_result(exit_code, "\n".join(said))

    def _named(self, result: AgentResult) -> AgentResult:
        """OpenCode tells no status, but it asks again only where the service itself fails."""
        is_unnamed = result.error is not None and result.error.code == "agent_failed"
        # The last line of the log may come after the result, which takes another pipe.
        if not is_unnamed or self._failures < MAX_ATTEMPTS - 1:
            return result
        status = text("acp.answered_with_error")
        error = ExecutorError("model_failing", status=status, reason=self._failure)
        return msgspec.structs.replace(result, error=error.info)

    def _asked_again(self) -> Iterator[AgentEvent]:
        self._failures, self._unreachable, self._is_news = 0, 0, False
        self._empty_answers += 1
        if self._empty_answers > MAX_EMPTY_ANSWERS:
            count = MAX_EMPTY_ANSWERS
            error = ExecutorError("model_says_nothing", count=count, agent=TITLE)
            yield AgentResult(error=error.info)

    def _failed(self, words: str) -> Iterator[AgentEvent]:
        self._failure = re.sub(r"^\w+Error: |\s*\(cause: .*\)$", "", words, flags=re.DOTALL)
        self._failures, self._is_news = self._failures + 1, True
        is_unreachable = self._failure.startswith("Cannot connect to API")
        self._unreachable = self._unreachable + 1 if is_unreachable else 0
        if self._unreachable >= MAX_UNREACHABLE:
            error = ExecutorError("model_unreachable", reason=self._failure)
            yield AgentResult(error=error.info)

    def _tries_again(self) -> Notice:
        words = text(
            "notice.model_failed",
            reason=self._failure,
            attempt=self._failures + 1,
            attempts=MAX_ATTEMPTS,
        )
        self._is_news = False
        return Notice(code="model_retry", text=words)


def _log_entry(line: bytes) -> dict[str, str]:
    """The fields of a line of the log; empty for any other line."""
    if not line.startswith(b"timestamp="):
        return {}
    words = line.decode(errors="replace")
    return {name: _unquoted(value) for name, value in _FIELD.findall(words)}


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    try:
        return msgspec.json.decode(value, type=str)
    except msgspec.DecodeError:
        return value.strip('"')
