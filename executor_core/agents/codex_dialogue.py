"""The JSON lines of Codex: `app-server` streams word by word, `exec --json` gives whole messages.

Facts of the wire are those of version 0.169.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import msgspec

from executor_core import __version__
from executor_core.agents.agent import FOR_MODEL, FOR_TOOL, Assignment, Wait
from executor_core.agents.answer import Answer, cut_output
from executor_core.agents.codex_items import (
    LOST_SESSIONS,
    TITLE,
    RateLimits,
    Tools,
    clean,
    retry,
    turn_failure,
)
from executor_core.agents.failures import failed, failure
from executor_core.agents.json_access import Json, JsonLines, as_dict, as_dicts, as_int, as_str
from executor_core.agents.mcp import McpServer, ToolServers, mcp_servers
from executor_core.model import (
    AgentEvent,
    AgentResult,
    Permission,
    RawEvent,
    ReasoningDelta,
    SessionStarted,
    TextDelta,
    Usage,
    UsageReported,
)
from executor_core.process import MARKER
from executor_core.texts import Message

_log = logging.getLogger("executor.agents")

TASK_PROVIDER = "runner"
KEY_PROVIDER = "openai_key"
SANDBOXES = {
    Permission.READ_ONLY: "read-only",
    Permission.WORKSPACE_WRITE: "workspace-write",
    Permission.UNATTENDED: "danger-full-access",
}
# The same words again after each change, and output that comes whole at the end of its command.
_UNWANTED = ("turn/diff/updated", "item/commandExecution/outputDelta")


class CodexDialogue(JsonLines):
    """One turn: initialize, look at the login, open the thread, send the prompt, listen.

    `provider` is used if nobody is signed in. Each request is named by its purpose.
    """

    def __init__(self, assignment: Assignment, *, provider: Json | None = None) -> None:
        super().__init__(TITLE)
        self._assignment = assignment
        self._provider = provider
        self._thread_id = assignment.session_id
        self._turn_id: str | None = None
        self._answer = Answer()
        self._thought: object = None
        self._tools = Tools()
        self._limits = RateLimits()
        servers, self._notices = mcp_servers(
            assignment.mcp_servers, agent=TITLE, takes=("stdio", "http")
        )
        self._mcp_servers = {server.name: _mcp_server(server) for server in servers}
        self._startup = ToolServers(servers, TITLE)
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
            self._open_thread(modelProvider=TASK_PROVIDER)

    def interrupt(self) -> bytes:
        if self._turn_id is None:
            return b""  # the end of its input is enough
        self._ask("interrupt", "turn/interrupt", threadId=self._thread_id, turnId=self._turn_id)
        return self.outgoing()

    def _heard(self, message: Json) -> Iterator[AgentEvent]:
        method = message.get("method")
        if method is None:
            yield from self._answered(as_str(message.get("id")), message)
        elif "id" in message:
            # A question has nobody to answer it and would hold the run for ever.
            asked = as_dict(message.get("params"))
            self._tools.denied.add(as_str(asked.get("command")) or as_str(method))
            refusal = {"code": -32601, "message": "Nobody is here to answer."}
            self._send({"id": message["id"], "error": refusal})
        else:
            yield from self._notification(as_str(method), as_dict(message.get("params")))

    def waits(self) -> Wait:
        return FOR_TOOL if self._tools.are_awaited else FOR_MODEL

    def without_result(self, exit_code: int, stderr: str) -> AgentResult:
        words = self._clean(stderr)
        error = failure("agent_ended_early", agent=TITLE, exit_code=exit_code, stderr=words)
        return self._answer.result(error, self._usage)

    # --- what we say ---

    def _ask(self, purpose: str, method: str, /, **params: Any) -> None:
        self._send({"id": purpose, "method": method, "params": params})

    def _open_thread(self, config: Json | None = None, **params: Any) -> None:
        assignment = self._assignment
        if self._mcp_servers:
            # Said here and not on the command line: it holds secrets.
            config = {**(config or {}), "mcp_servers": self._mcp_servers}
        params |= {"config": config} if config else {}
        params |= {
            "cwd": str(assignment.folder),
            "approvalPolicy": "never",
            "sandbox": SANDBOXES[assignment.permission],
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
        said: list[Json] = [{"type": "text", "text": self._assignment.prompt}]
        said += [
            {"type": "image", "url": f"data:{image.media_type};base64,{image.data}"}
            for image in self._assignment.images
        ]
        self._ask("turn", "turn/start", threadId=self._thread_id, input=said)

    # --- what it answers ---

    def _answered(self, purpose: str, message: Json) -> Iterator[AgentEvent]:
        if (error := message.get("error")) is not None:
            yield AgentResult(error=self._request_failure(purpose, as_dict(error)))
            return
        result = as_dict(message.get("result"))
        match purpose:
            case "login":
                yield from self._check_login(result)
            case "thread":
                self._thread_id = as_str(as_dict(result.get("thread")).get("id"))
                yield SessionStarted(
                    session_id=self._thread_id, model=as_str(result.get("model")) or None
                )
                yield from self._notices
                self._start_turn()
            case "turn":
                self._turn_id = as_str(as_dict(result.get("turn")).get("id"))

    def _check_login(self, result: Json) -> Iterator[AgentEvent]:
        is_signed_in = result.get("account") is not None or not result.get("requiresOpenaiAuth")
        if is_signed_in:
            self._open_thread()
        elif self._provider is not None:
            config = {"model_providers": {KEY_PROVIDER: self._provider}}
            self._open_thread(modelProvider=KEY_PROVIDER, config=config)
        else:
            yield failed("codex_not_signed_in")

    def _request_failure(self, purpose: str, error: Json) -> Message:
        if purpose == "thread" and self._assignment.session_id:
            # Whatever is wrong with it (gone, another agent's, unreadable): a new one helps.
            _log.info(
                "Codex cannot take up a thread: %s", self._clean(as_str(error.get("message")))
            )
            return failure("session_not_found", session_id=self._assignment.session_id)
        return turn_failure(error, self._assignment.model)

    # --- what it tells ---

    def _notification(self, method: str, params: Json) -> Iterator[AgentEvent]:
        item = as_dict(params.get("item"))
        match method:
            case "item/started":
                yield from self._tools.started(item)
                return
            case "item/completed" if item.get("type") != "agentMessage":
                yield from self._tools.finished(item)
                return
            case "account/rateLimits/updated":
                self._limits.told(as_dict(params.get("rateLimits")))
                return
            case "mcpServer/startupStatus/updated":
                yield from self._startup.told(
                    as_str(params.get("name")),
                    as_str(params.get("status")),
                    as_str(params.get("error")),
                )
                return
        if params.get("threadId") != self._thread_id:
            return  # a sub-agent's own conversation; of that only its tools are shown
        match method:
            case "item/agentMessage/delta":
                self._tools.model_speaks()
                yield from self._answer.more(params.get("itemId"), as_str(params.get("delta")))
            case "item/completed":
                yield from self._answer.whole(item.get("id"), as_str(item.get("text")))
            case "item/reasoning/summaryTextDelta" | "item/reasoning/textDelta":
                yield from self._think(params)
            case "thread/tokenUsage/updated":
                yield from self._count(params)
            case "error" if params.get("willRetry"):
                yield retry(as_dict(params.get("error")), self._assignment.model)
                # What was complete the model is told again; the rest it writes anew.
                yield from self._answer.abandon()
            case "turn/completed":
                yield from self._turn_completed(as_dict(params.get("turn")))

    def _think(self, params: Json) -> Iterator[AgentEvent]:
        if not (words := as_str(params.get("delta"))):
            return
        self._tools.model_speaks()
        part = params.get("summaryIndex", params.get("contentIndex"))
        thought = (params.get("itemId"), part)
        is_next = self._thought not in (None, thought)
        self._thought = thought
        yield ReasoningDelta(text="\n\n" + words if is_next else words)

    def _count(self, params: Json) -> Iterator[AgentEvent]:
        total = _usage(as_dict(as_dict(params.get("tokenUsage")).get("total")))
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

    def _turn_completed(self, turn: Json) -> Iterator[AgentEvent]:
        yield from self._tools.close()
        yield from self._startup.still_missing()
        if turn.get("status") == "completed":
            yield self._answer.result(usage=self._usage)
        else:
            error = turn_failure(
                as_dict(turn.get("error")),
                self._assignment.model,
                as_str(turn.get("status")),
                self._limits.resets_at,
            )
            yield self._answer.result(error, self._usage)

    def _clean(self, words: str) -> str:
        return clean(words, self._assignment.model)


def _mcp_server(server: McpServer) -> Json:
    if server.kind == "http":
        return {"url": server.url, "http_headers": server.headers}
    program: Json = {"command": server.command, "args": server.args, "env": server.env}
    # Codex starts it with hardly any environment; by this one it is found at the end of the run.
    return program | {"env_vars": [MARKER]}


def _usage(counts: Json) -> Usage:
    return Usage(
        input_tokens=as_int(counts.get("inputTokens")),
        output_tokens=as_int(counts.get("outputTokens")),
        cached_tokens=as_int(counts.get("cachedInputTokens")),
    )


MAX_RAW_BYTES = 64 * 1024
"""Of one event that is passed on. The strings of a larger one are cut, at worst its type stays."""
_CUT_TO = (8 * 1024, 512)

_ITEMS = {
    "command_execution": "commandExecution",
    "file_change": "fileChange",
    "mcp_tool_call": "mcpToolCall",
    "web_search": "webSearch",
    "collab_tool_call": "collabAgentToolCall",
}
"""What the app server calls them."""
_TRIES_AGAIN = "Reconnecting"
"""Another error is said again by the end of the turn."""
_FIELDS = {"aggregated_output": "aggregatedOutput", "exit_code": "exitCode"}


class CodexExecDialogue(JsonLines):
    """One turn: the prompt goes in whole, its input is closed, events come out.

    Each line is a RawEvent, followed by what it means.
    """

    def __init__(self, assignment: Assignment) -> None:
        super().__init__(TITLE)
        self._assignment = assignment
        self._pending = _prompt(assignment)
        self._tools = Tools()
        self._final_text = ""

    def interrupt(self) -> None:
        """It has no such word; the signals that follow end it."""

    def _heard(self, message: Json) -> Iterator[AgentEvent]:
        yield RawEvent(raw=_capped(message))
        yield from self._meaning(message)

    def waits(self) -> Wait:
        return FOR_TOOL if self._tools.are_awaited else FOR_MODEL

    def without_result(self, exit_code: int, stderr: str) -> AgentResult:
        if any(sign in stderr for sign in LOST_SESSIONS):
            return failed("session_not_found", session_id=self._assignment.session_id)
        words = clean(stderr, self._assignment.model)
        return failed("agent_ended_early", agent=TITLE, exit_code=exit_code, stderr=words)

    def _meaning(self, message: Json) -> Iterator[AgentEvent]:
        item = _as_told_by_the_server(as_dict(message.get("item")))
        match message.get("type"):
            case "thread.started":
                yield SessionStarted(session_id=as_str(message.get("thread_id")))
            case "item.started":
                yield from self._tools.started(item)
            case "item.completed":
                yield from self._completed(item)
            case "error" if as_str(message.get("message")).startswith(_TRIES_AGAIN):
                yield retry(message, self._assignment.model)
            case "turn.completed":
                yield from self._tools.close()
                usage = self._usage(as_dict(message.get("usage")))
                yield AgentResult(final_text=self._final_text, usage=usage)
            case "turn.failed":
                yield from self._tools.close()
                error = turn_failure(as_dict(message.get("error")), self._assignment.model)
                yield AgentResult(error=error)

    def _completed(self, item: Json) -> Iterator[AgentEvent]:
        words = as_str(item.get("text"))
        if words:
            self._tools.model_speaks()
        match item.get("type"):
            case "agent_message" if words:
                # Two messages of one answer are paragraphs, not one run-on word.
                yield TextDelta(text="\n\n" + words if self._final_text else words)
                self._final_text = words
            case "reasoning" if words:
                yield ReasoningDelta(text=words)
            case _:
                yield from self._tools.finished(item)

    def _usage(self, counts: Json) -> Usage | None:
        if self._assignment.session_id:
            return None  # it counts from the first turn on, and what that was nobody says
        return Usage(
            input_tokens=as_int(counts.get("input_tokens")),
            output_tokens=as_int(counts.get("output_tokens")),
            cached_tokens=as_int(counts.get("cached_input_tokens")),
        )


def _prompt(assignment: Assignment) -> bytes:
    words = assignment.prompt
    if assignment.system_prompt and not assignment.session_id:
        # On a command line it would be visible to everyone here.
        words = f"{assignment.system_prompt}\n\n{words}"
    return words.encode()


def _as_told_by_the_server(item: Json) -> Json:
    """The item in the shape that the app server gives it."""
    kind = as_str(item.get("type"))
    found = {_FIELDS.get(name, name): value for name, value in item.items()}
    if kind == "file_change":
        found["changes"] = [
            {**change, "kind": {"type": change.get("kind")}}
            for change in as_dicts(item.get("changes"))
        ]
    return found | {"type": _ITEMS.get(kind, kind)}


def _capped(message: Json) -> Json:
    if len(msgspec.json.encode(message)) <= MAX_RAW_BYTES:
        return message
    for limit in _CUT_TO:
        shorter = as_dict(_cut(message, limit))
        if len(msgspec.json.encode(shorter)) <= MAX_RAW_BYTES:
            return shorter
    return {"type": message.get("type"), "truncated": True}


def _cut(value: object, limit: int) -> object:
    match value:
        case str():
            return cut_output(value, limit)
        case list():
            return [_cut(part, limit) for part in value]
        case dict():
            return {name: _cut(part, limit) for name, part in value.items()}
    return value
