"""Codex: its command, its private configuration, and the JSON-RPC lines of `codex app-server`.

The app server streams what the model writes word by word, which `codex exec` does not. Facts of the
wire are those of version 0.169.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from executor_core import __version__
from executor_core.agents.agent import Agent, Assignment, Emit
from executor_core.agents.drive import drive
from executor_core.agents.host import AgentHost, Probe
from executor_core.agents.tool_output import cut_output
from executor_core.errors import ExecutorError
from executor_core.model import (
    AgentEvent,
    AgentResult,
    Availability,
    ErrorInfo,
    FileChanged,
    ModelConfig,
    Notice,
    Permission,
    ReasoningDelta,
    SessionStarted,
    TextDelta,
    ToolFinished,
    ToolStarted,
    Usage,
    UsageReported,
)
from executor_core.texts import text
from executor_core.unicode import decode_json

_log = logging.getLogger("executor.agents")
_Json = dict[str, Any]

NAME = "codex"
TITLE = "Codex"
MINIMUM_VERSION = (0, 169, 0)
"""The app server calls itself experimental; older ones were never seen to understand us."""
MAX_PROMPT = 1_048_576
"""Characters; Codex refuses more."""

_VENDOR_URL = "https://api.openai.com/v1"
_VENDOR_VARIABLES = re.compile(r"OPENAI_|CODEX_")
_TASK_KEY = "RUNNER_MODEL_KEY"
_TASK_PROVIDER = "runner"
_KEY_PROVIDER = "openai_key"
# Codex itself reads neither: without a login it would call the model with no key at all.
_KEY_VARIABLES = ("CODEX_API_KEY", "OPENAI_API_KEY")
_SANDBOXES = {
    Permission.UNATTENDED: "danger-full-access",
    Permission.WORKSPACE_WRITE: "workspace-write",
}
_QUIET = (
    "check_for_update_on_startup=false",
    "analytics.enabled=false",
    # Without this a refused connection is tried again for ever.
    "features.unbounded_connection_retries=false",
)
# The same words again after each change, and output that comes whole at the end of its command.
_UNWANTED = ("turn/diff/updated", "item/commandExecution/outputDelta")
_BROKEN_OFF = "stream disconnected before completion: "
# What Codex says around the sentence of the model service.
_FRAMES = re.compile(
    rf"(?:unexpected status \d+ [^:]*: |{_BROKEN_OFF})(?P<sentence>.+?)(?:, url: \S+)?", re.DOTALL
)
_LOST_SESSIONS = ("no rollout found", "invalid session id")

_FAILURES = {
    "unauthorized": ("model_key_refused", 401),
    "modelNotFound": ("model_unknown", 404),
    "badRequest": ("model_refused", 400),
    "contextWindowExceeded": ("model_context_full", 400),
    "usageLimitExceeded": ("model_usage_limit", 429),
    "sessionBudgetExceeded": ("model_usage_limit", 429),
    "rateLimitExceeded": ("model_rate_limited", 429),
    "internalServerError": ("model_failing", 500),
    "serverOverloaded": ("model_overloaded", 503),
}
"""Codex's own names of failures: our code, and the status that the model service gave."""
_STATUSES = {401: "model_key_refused", 403: "model_access_denied", 404: "model_unknown"}
_STATUSES |= {429: "model_rate_limited", 503: "model_overloaded"}


class Codex(Agent):
    """The user's own `codex`."""

    name = NAME

    def __init__(self, host: AgentHost) -> None:
        self._host = host

    async def availability(self) -> Availability:
        found = await self._host.availability(
            Probe(
                name=NAME,
                title=TITLE,
                program="codex",
                minimum_version=MINIMUM_VERSION,
                login_command=("login", "status"),
            )
        )
        if found.problem is None or found.problem.code != "codex_not_signed_in":
            return found
        # The login command knows neither keys in the environment nor the user's other providers.
        login = _access_without_login(self._host.environment({}))
        if login is None:
            return found
        return msgspec.structs.replace(found, is_usable=True, login=login, problem=None)

    async def run(self, assignment: Assignment, emit: Emit, stop: asyncio.Event) -> AgentResult:
        launcher = await self._host.find("codex")
        if launcher is None:
            raise ExecutorError("codex_missing")
        if (length := len(assignment.prompt)) > MAX_PROMPT:
            raise ExecutorError("prompt_too_long", agent=TITLE, length=length, limit=MAX_PROMPT)
        if assignment.private_home is not None:
            write_private_config(assignment.private_home, assignment.model)
        env = self._host.environment(
            variables(assignment),
            without=_VENDOR_VARIABLES if assignment.private_home is not None else None,
        )
        return await drive(
            CodexDialogue(assignment, provider=provider(assignment, env)),
            [str(native_program(launcher)), *arguments(assignment)],
            cwd=assignment.folder,
            env=env,
            marker=self._host.marker(assignment.run_id),
            clock=self._host.clock,
            emit=emit,
            stop=stop,
        )


# --- the program and its surroundings ----------------------------------------------------------


def native_program(launcher: Path) -> Path:
    """The binary inside the npm package that `launcher` starts; `launcher` itself if unclear.

    The launcher is a Node program that stays in memory beside the binary, and on Windows a batch
    file, which would read its arguments again as commands.
    """
    real = launcher.resolve()
    match real.suffix.lower():
        case ".js":
            packages = [real.parent.parent]
        case ".cmd":
            packages = [
                real.parent / "node_modules" / "@openai" / "codex",
                real.parent.parent / "@openai" / "codex",
            ]
        case _:
            return launcher
    binaries = "codex-*/vendor/*/bin/*"
    found = {
        path
        for package in packages
        for folder in (package.parent, package / "node_modules" / "@openai")
        for path in folder.glob(binaries)
        if path.name in ("codex", "codex.exe") and path.is_file()
    }
    return found.pop() if len(found) == 1 else launcher


def arguments(assignment: Assignment) -> list[str]:
    """The command line behind the program. Neither prompt nor secret stands in it."""
    argv = ["app-server"]
    if assignment.private_home is None:
        # The user's own configuration stays in force, tools and plugins included.
        for setting in _QUIET:
            argv += ["-c", setting]
    return argv


def variables(assignment: Assignment) -> dict[str, str]:
    """The environment of the run on top of the user's own."""
    env = dict(assignment.model.env)
    if assignment.private_home is not None:
        env["CODEX_HOME"] = str(assignment.private_home)
        if key := _task_key(assignment.model):
            env[_TASK_KEY] = key
        env |= {_header_variable(n): v for n, v in enumerate(assignment.model.headers.values())}
    return env


def write_private_config(home: Path, model: ModelConfig) -> None:
    """Make `home` the complete configuration of a run with the task's own model access.

    `config.toml` (0600) names the variables that hold the key and the headers, never their values.
    """
    import tomlkit  # only few runs need it, and it takes 30 ms

    headers = {name: _header_variable(number) for number, name in enumerate(model.headers)}
    config = {
        "model_provider": _TASK_PROVIDER,
        "check_for_update_on_startup": False,
        "analytics": {"enabled": False},
        "features": {"plugins": False, "apps": False, "unbounded_connection_retries": False},
        # What the model starts must not see what pays for the model.
        "shell_environment_policy": {"exclude": [_TASK_KEY, *headers.values()]},
        "model_providers": {
            _TASK_PROVIDER: _custom_provider(
                model.base_url or model.env.get("OPENAI_BASE_URL"),
                _TASK_KEY if _task_key(model) else None,
            )
            | {"env_http_headers": headers}
            | {"request_max_retries": 2, "stream_max_retries": 2}
        },
    }
    new = home / "config.toml.new"
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(tomlkit.dumps(config).encode())
    new.replace(home / "config.toml")


def provider(assignment: Assignment, env: Mapping[str, str]) -> _Json | None:
    """The provider for a user who has a key in `env` and perhaps no login; None if there is none.

    In the form of Codex's `model_providers`.
    """
    if assignment.private_home is not None:
        return None
    key = next((name for name in _KEY_VARIABLES if env.get(name)), None)
    return _custom_provider(env.get("OPENAI_BASE_URL"), key) if key else None


def _custom_provider(base_url: str | None, key_variable: str | None) -> _Json:
    base_url = (base_url or _VENDOR_URL).rstrip("/")
    if not urlsplit(base_url).path:
        # No such API lies at the root of its host: the version was left out.
        base_url += "/v1"
    key = {"env_key": key_variable} if key_variable else {}
    return {"name": TITLE, "base_url": base_url, "wire_api": "responses", **key}


def _task_key(model: ModelConfig) -> str | None:
    return model.api_key or model.env.get("OPENAI_API_KEY")


def _header_variable(number: int) -> str:
    return f"RUNNER_MODEL_HEADER_{number}"


def _access_without_login(env: Mapping[str, str]) -> str | None:
    """What the user has instead of a login: the name of a model provider, or of a variable."""
    user_home = Path(env.get("HOME") or env.get("USERPROFILE") or "")
    home = Path(env.get("CODEX_HOME") or user_home / ".codex")
    try:
        chosen = tomllib.loads((home / "config.toml").read_text("utf-8")).get("model_provider")
    except (OSError, ValueError):
        chosen = None
    if isinstance(chosen, str) and chosen != "openai":
        return chosen
    return next((name for name in _KEY_VARIABLES if env.get(name)), None)


# --- the dialogue ------------------------------------------------------------------------------


class CodexDialogue:
    """One turn: initialize, look at the login, open the thread, send the prompt, listen.

    `provider` is used if nobody is signed in. Each request is named by its purpose.
    """

    def __init__(self, assignment: Assignment, *, provider: _Json | None = None) -> None:
        self._assignment = assignment
        self._provider = provider
        self._pending = b""
        self._thread_id = assignment.session_id
        self._turn_id: str | None = None
        self._item_id: str | None = None
        self._item_text = ""
        self._final_text = ""
        self._thought: object = None
        self._running_tools: set[str] = set()
        self._usage_before = Usage()
        self._usage: Usage | None = None
        client = {"name": "wegent-executor", "title": "Wegent Executor", "version": __version__}
        capabilities = {
            "experimentalApi": False,
            "requestAttestation": False,
            "optOutNotificationMethods": _UNWANTED,
        }
        self._ask("initialize", "initialize", clientInfo=client, capabilities=capabilities)
        self._send({"method": "initialized"})
        if assignment.private_home is None:
            self._ask("login", "account/read")
        else:
            self._open_thread(modelProvider=_TASK_PROVIDER)

    def outgoing(self) -> bytes:
        pending, self._pending = self._pending, b""
        return pending

    def interrupt(self) -> bytes:
        if self._turn_id is None:
            return b""  # the end of its input is enough
        self._ask("interrupt", "turn/interrupt", threadId=self._thread_id, turnId=self._turn_id)
        return self.outgoing()

    def feed(self, line: bytes) -> Iterator[AgentEvent]:
        try:
            message = decode_json(line)
        except ValueError:
            _log.debug("Codex printed a line that is no message (%d bytes)", len(line))
            return
        if not isinstance(message, dict):
            return
        method = message.get("method")
        if method is None:
            yield from self._answer(_str(message.get("id")), message)
        elif "id" in message:
            # A question has nobody to answer it and would hold the run for ever.
            refusal = {"code": -32601, "message": "Nobody is here to answer."}
            self._send({"id": message["id"], "error": refusal})
        else:
            yield from self._notification(_str(method), _dict(message.get("params")))

    def without_result(self, exit_code: int, stderr: str) -> AgentResult:
        error = _error("agent_ended_early", exit_code=exit_code, stderr=self._clean(stderr))
        return AgentResult(error=error, usage=self._usage)

    # --- what we say ---

    def _send(self, message: _Json) -> None:
        self._pending += msgspec.json.encode(message) + b"\n"

    def _ask(self, purpose: str, method: str, /, **params: Any) -> None:
        self._send({"id": purpose, "method": method, "params": params})

    def _open_thread(self, **params: Any) -> None:
        assignment = self._assignment
        params |= {
            "cwd": str(assignment.folder),
            "approvalPolicy": "never",
            "sandbox": _SANDBOXES[assignment.permission],
        }
        if assignment.model.model:
            params["model"] = assignment.model.model
        if assignment.system_prompt:
            params["developerInstructions"] = assignment.system_prompt
        if assignment.session_id:
            # Without its turns: a long conversation would make a very long line.
            params |= {"threadId": assignment.session_id, "excludeTurns": True}
            self._ask("thread", "thread/resume", **params)
        else:
            self._ask("thread", "thread/start", **params)

    def _start_turn(self) -> None:
        said: list[_Json] = [{"type": "text", "text": self._assignment.prompt}]
        said += [
            {"type": "image", "url": f"data:{image.media_type};base64,{image.data}"}
            for image in self._assignment.images
        ]
        self._ask("turn", "turn/start", threadId=self._thread_id, input=said)

    # --- what it answers ---

    def _answer(self, purpose: str, message: _Json) -> Iterator[AgentEvent]:
        if (error := message.get("error")) is not None:
            yield AgentResult(error=self._request_failure(purpose, _dict(error)))
            return
        result = _dict(message.get("result"))
        match purpose:
            case "login":
                yield from self._look_at_login(result)
            case "thread":
                self._thread_id = _str(_dict(result.get("thread")).get("id"))
                yield SessionStarted(
                    session_id=self._thread_id, model=_str(result.get("model")) or None
                )
                self._start_turn()
            case "turn":
                self._turn_id = _str(_dict(result.get("turn")).get("id"))

    def _look_at_login(self, result: _Json) -> Iterator[AgentEvent]:
        is_signed_in = result.get("account") is not None or not result.get("requiresOpenaiAuth")
        if is_signed_in:
            self._open_thread()
        elif self._provider is not None:
            config = {"model_providers": {_KEY_PROVIDER: self._provider}}
            self._open_thread(modelProvider=_KEY_PROVIDER, config=config)
        else:
            yield AgentResult(error=_error("codex_not_signed_in"))

    def _request_failure(self, purpose: str, error: _Json) -> ErrorInfo:
        words = self._clean(_str(error.get("message")))
        if purpose == "thread" and any(sign in words for sign in _LOST_SESSIONS):
            return _error("session_not_found", session_id=self._assignment.session_id)
        return _error("agent_failed", agent=TITLE, reason=words)

    # --- what it tells ---

    def _notification(self, method: str, params: _Json) -> Iterator[AgentEvent]:
        item = _dict(params.get("item"))
        match method:
            case "item/started":
                yield from self._tool_started(item)
                return
            case "item/completed" if item.get("type") != "agentMessage":
                yield from self._tool_finished(item)
                return
        if params.get("threadId") != self._thread_id:
            return  # a sub-agent's own conversation; of that only its tools are shown
        match method:
            case "item/agentMessage/delta":
                yield from self._say(_str(params.get("itemId")), _str(params.get("delta")))
            case "item/completed":
                yield from self._said(_str(item.get("id")), _str(item.get("text")))
            case "item/reasoning/summaryTextDelta" | "item/reasoning/textDelta":
                yield from self._think(params)
            case "thread/tokenUsage/updated":
                yield from self._count(params)
            case "error" if params.get("willRetry"):
                yield self._retry(_dict(params.get("error")))
            case "turn/completed":
                yield from self._turn_completed(_dict(params.get("turn")))

    def _say(self, item_id: str, words: str) -> Iterator[AgentEvent]:
        if not words:
            return
        is_new = item_id != self._item_id
        # Two messages of one answer are paragraphs, not one run-on word.
        is_next = is_new and self._item_id is not None
        if is_new:
            self._item_id, self._item_text = item_id, ""
        self._item_text += words
        yield TextDelta(text="\n\n" + words if is_next else words)

    def _said(self, item_id: str, words: str) -> Iterator[AgentEvent]:
        """The whole message; what its deltas left out is said now."""
        self._final_text = words
        streamed = self._item_text if item_id == self._item_id else ""
        if words.startswith(streamed):
            yield from self._say(item_id, words[len(streamed) :])

    def _think(self, params: _Json) -> Iterator[AgentEvent]:
        if not (words := _str(params.get("delta"))):
            return
        part = params.get("summaryIndex", params.get("contentIndex"))
        thought = (params.get("itemId"), part)
        is_next = self._thought not in (None, thought)
        self._thought = thought
        yield ReasoningDelta(text="\n\n" + words if is_next else words)

    def _tool_started(self, item: _Json) -> Iterator[AgentEvent]:
        if (tool := _tool(item)) is not None:
            name, tool_input = tool
            call_id = _str(item.get("id"))
            self._running_tools.add(call_id)
            yield ToolStarted(call_id=call_id, name=name, input=tool_input)

    def _tool_finished(self, item: _Json) -> Iterator[AgentEvent]:
        if _tool(item) is None:
            return
        call_id = _str(item.get("id"))
        if call_id not in self._running_tools:
            yield from self._tool_started(item)
        self._running_tools.discard(call_id)
        is_error = item.get("status") in ("failed", "declined")
        output = cut_output(_output(item))
        yield ToolFinished(call_id=call_id, output=output, is_error=is_error)
        if item.get("type") == "fileChange" and not is_error:
            yield from _file_changes(item)

    def _count(self, params: _Json) -> Iterator[AgentEvent]:
        total = _usage(_dict(_dict(params.get("tokenUsage")).get("total")))
        if self._turn_id is None or params.get("turnId") != self._turn_id:
            # A resumed thread tells first what its earlier turns took.
            self._usage_before = total
            return
        before = self._usage_before
        self._usage = Usage(
            input_tokens=total.input_tokens - before.input_tokens,
            output_tokens=total.output_tokens - before.output_tokens,
            cached_tokens=total.cached_tokens - before.cached_tokens,
        )
        yield UsageReported(usage=self._usage)

    def _retry(self, error: _Json) -> Notice:
        words = _str(error.get("message"))
        attempt, attempts = [*re.findall(r"\d+", words), "?", "?"][:2]
        reason = self._clean(_str(error.get("additionalDetails")) or words)
        status = _status(error.get("codexErrorInfo"))
        if status is not None:
            key = "notice.model_retry"
        elif _is_unreachable(reason):
            key = "notice.model_unreachable"
        else:
            key = "notice.model_broken_off"
        words = text(key, status=status, reason=reason, attempt=attempt, attempts=attempts)
        return Notice(code="model_retry", text=words)

    def _turn_completed(self, turn: _Json) -> Iterator[AgentEvent]:
        for call_id in sorted(self._running_tools):
            output = text("agent.codex.tool_cut")
            yield ToolFinished(call_id=call_id, output=output, is_error=True)
        self._running_tools.clear()
        if turn.get("status") == "completed":
            yield AgentResult(final_text=self._final_text, usage=self._usage)
        else:
            yield AgentResult(error=self._failure(turn), usage=self._usage)

    def _failure(self, turn: _Json) -> ErrorInfo:
        error = _dict(turn.get("error"))
        words = self._clean(_str(error.get("message")) or _str(turn.get("status")))
        kind = error.get("codexErrorInfo")
        if isinstance(kind, str) and kind in _FAILURES:
            code, status = _FAILURES[kind]
            return _error(code, status=status, reason=words)
        if (status_or_none := _status(kind)) is not None:
            return _api_error(status_or_none, words)
        if (sentence := _api_sentence(words)) is not None:
            return _api_error(400, sentence)  # the only status whose answer is passed on as it is
        if _is_unreachable(words):
            return _error("model_unreachable", reason=words)
        if _str(error.get("message")).startswith(_BROKEN_OFF):
            return _error("model_broke_off", reason=words)
        return _error("agent_failed", agent=TITLE, reason=words)

    def _clean(self, words: str) -> str:
        """The sentence in `words`, without the task's secrets.

        A model service may repeat a key that it refuses.
        """
        model = self._assignment.model
        for secret in filter(None, (_task_key(model), *model.headers.values())):
            words = words.replace(secret, "…")
        framed = _FRAMES.fullmatch(words)
        return framed["sentence"] if framed else words


# --- items -------------------------------------------------------------------------------------


def _tool(item: _Json) -> tuple[str, _Json] | None:
    """Name and input of the tool that `item` is the use of."""
    match item.get("type"):
        case "commandExecution":
            command = _unwrapped(_str(item.get("command")))
            return "shell", {"command": command, "cwd": item.get("cwd")}
        case "fileChange":
            return "apply_patch", {"changes": [_change(change) for change in _changes(item)]}
        case "mcpToolCall":
            return f"mcp__{item.get('server')}__{item.get('tool')}", _dict(item.get("arguments"))
        case "webSearch":
            return "web_search", {"query": item.get("query")}
        case "imageView":
            return "view_image", {"path": item.get("path")}
        case "collabAgentToolCall":
            return "sub_agent", {"action": item.get("tool"), "prompt": item.get("prompt")}
    return None


def _output(item: _Json) -> str:
    match item.get("type"):
        case "commandExecution":
            output, exit_code = _str(item.get("aggregatedOutput")), item.get("exitCode")
            return f"Exit code {exit_code}\n{output}" if exit_code else output
        case "fileChange":
            return "\n".join(f"{change.change} {change.path}" for change in _file_changes(item))
        case "mcpToolCall":
            if error := _str(_dict(item.get("error")).get("message")):
                return error
            content = _dict(item.get("result")).get("content")
            return "\n".join(_str(part.get("text")) for part in _dicts(content))
    return ""


def _file_changes(item: _Json) -> Iterator[FileChanged]:
    for change in _changes(item):
        path, kind = _str(change.get("path")), _dict(change.get("kind"))
        match kind.get("type"), kind.get("move_path"):
            case "add", _:
                yield FileChanged(path=path, change="written")
            case "delete", _:
                yield FileChanged(path=path, change="deleted")
            case _, str(target):
                yield FileChanged(path=path, change="deleted")
                yield FileChanged(path=target, change="written")
            case _:
                yield FileChanged(path=path, change="edited")


def _changes(item: _Json) -> list[_Json]:
    return _dicts(item.get("changes"))


def _change(change: _Json) -> _Json:
    diff = cut_output(_str(change.get("diff")))
    return {"path": change.get("path"), "kind": _dict(change.get("kind")).get("type"), "diff": diff}


def _unwrapped(command: str) -> str:
    """What the model wrote, without the shell that Codex puts around it."""
    try:
        parts = shlex.split(command)
    except ValueError:
        return command
    return parts[2] if len(parts) == 3 and parts[1] in ("-c", "-lc") else command


# --- small parts -------------------------------------------------------------------------------


def _api_error(status: int, words: str) -> ErrorInfo:
    code = _STATUSES.get(status, "model_failing" if status >= 500 else "model_refused")
    return _error(code, status=status, reason=words)


def _api_sentence(words: str) -> str | None:
    """The sentence in `words`, if these are an error body of the API."""
    try:
        body = _dict(msgspec.json.decode(words))
    except msgspec.DecodeError:
        return None
    sentence = _dict(body.get("error")).get("message") or body.get("detail")
    return sentence if isinstance(sentence, str) else None


def _status(kind: object) -> int | None:
    """The HTTP status inside `{"httpConnectionFailed": {"httpStatusCode": 401}}`."""
    for details in _dict(kind).values():
        if isinstance(status := _dict(details).get("httpStatusCode"), int):
            return status
    return None


def _is_unreachable(words: str) -> bool:
    return words.startswith("Connection failed")


def _usage(counts: _Json) -> Usage:
    return Usage(
        input_tokens=_int(counts.get("inputTokens")),
        output_tokens=_int(counts.get("outputTokens")),
        cached_tokens=_int(counts.get("cachedInputTokens")),
    )


def _error(code: str, /, **values: object) -> ErrorInfo:
    return ExecutorError(code, retryable=False, **values).info


def _dict(value: object) -> _Json:
    return value if isinstance(value, dict) else {}


def _dicts(value: object) -> list[_Json]:
    return [part for part in value if isinstance(part, dict)] if isinstance(value, list) else []


def _str(value: object) -> str:
    return value if isinstance(value, str) else ""


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0
