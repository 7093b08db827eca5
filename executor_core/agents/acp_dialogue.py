"""One turn in the Agent Client Protocol: JSON-RPC lines in both directions, without any I/O.

The shapes are those of the protocol's own library, version 1 of the protocol. Of its connection
nothing is used: pipes, time limits and the end of the process belong to `drive`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from acp import schema
from pydantic import BaseModel, ValidationError

from executor_core import __version__
from executor_core.agents.agent import Assignment
from executor_core.agents.mcp import McpServer, mcp_servers
from executor_core.agents.tool_output import cut_output
from executor_core.errors import ExecutorError
from executor_core.model import (
    AgentEvent,
    AgentResult,
    ErrorInfo,
    FileChanged,
    Notice,
    Permission,
    ReasoningDelta,
    SessionStarted,
    TextDelta,
    ToolFinished,
    ToolStarted,
    Usage,
)
from executor_core.texts import text
from executor_core.unicode import decode_json

_log = logging.getLogger("executor.agents")
_Json = dict[str, Any]

PROTOCOL_VERSION = 1
_AUTH_REQUIRED = -32000
_METHOD_NOT_FOUND = -32601
_INVISIBLE = "\u200b"

_CHANGES = {"edit": "edited", "delete": "deleted", "move": "moved"}
_EDITING = frozenset({"read", *_CHANGES})
"""What may be done in the folder without a person's consent, if work in it was permitted."""
_ALLOW = ("allow_once", "allow_always")
_REJECT = ("reject_once", "reject_always")
_EARLY_STOPS = {
    "max_tokens": "acp.prompt_cut",
    "max_turn_requests": "acp.too_many_turns",
    "cancelled": "acp.stopped_itself",
}
# The protocol passes on what the model service said, but not its status.
_MEANINGS = (
    (r"usage limit|quota|insufficient (balance|credit|fund)|credit balance", "model_usage_limit"),
    (r"api.?key|unauthori[sz]ed|invalid.{0,20}(token|credential)|authenticat", "model_key_refused"),
    (r"rate.?limit|too many requests", "model_rate_limited"),
    (r"overloaded", "model_overloaded"),
    (r"(cannot|unable to|failed to) connect|econnrefused|enotfound", "model_unreachable"),
    (r"model.{0,80}(not found|not exist|unknown)|(unknown|no such) model", "model_unknown"),
)

ModelCheck = Callable[[str | None, frozenset[str]], ErrorInfo | None]
"""Judges the model of a session, before anything is sent to it: its name and all that are offered;
None and nothing where the agent does not say."""


@dataclass
class _Call:
    """A tool call as it grows."""

    name: str
    kind: str | None = None
    input: _Json = field(default_factory=dict)
    output: object = None
    content: list[Any] = field(default_factory=list)
    paths: tuple[str, ...] = ()
    is_started: bool = False


class AcpDialogue:
    """The handshake, a session, one prompt, and everything up to the agent's answer to it.

    `takes_system_prompt` is false for an agent that is told the system prompt in another way; for
    all others it stands in front of the first prompt of a session.
    """

    def __init__(
        self,
        assignment: Assignment,
        title: str,
        *,
        takes_system_prompt: bool = True,
        check_model: ModelCheck | None = None,
    ) -> None:
        self._assignment = assignment
        self._title = title
        self._takes_system_prompt = takes_system_prompt
        self._check_model = check_model
        self._out: list[bytes] = []
        self._requests = 0
        self._on_answer: Callable[[object], Iterator[AgentEvent]] = self._initialized
        self._takes_images = False
        self._notices: list[Notice] = []
        self._session_id = assignment.session_id
        self._is_prompted = False
        self._message_id: str | None = None
        self._has_text = False
        self._is_interrupted_text = False
        self._calls: dict[str, _Call] = {}
        self._plans = 0
        self._cost_usd: float | None = None
        request = schema.InitializeRequest(
            protocol_version=PROTOCOL_VERSION,
            # Neither our files nor our terminals: the agent has its own hands, and ends with them.
            client_capabilities=schema.ClientCapabilities(),
            client_info=schema.Implementation(name="wegent-executor", version=__version__),
        )
        self._request("initialize", request, self._initialized)

    # --- what drive() asks ---

    def outgoing(self) -> bytes:
        """What has to be said since the last time."""
        out, self._out = b"".join(self._out), []
        return out

    def interrupt(self) -> bytes:
        if not self._is_prompted or self._session_id is None:
            return b""
        notification = schema.CancelNotification(session_id=self._session_id)
        return _line({"method": "session/cancel", "params": _dump(notification)})

    def feed(self, line: bytes) -> Iterator[AgentEvent]:
        try:
            message = decode_json(line)
        except ValueError:
            # Some print a greeting or a warning between the messages.
            _log.debug("%s printed a line that is no message (%d bytes)", self._title, len(line))
            return
        if not isinstance(message, dict):
            return
        try:
            if "method" in message:
                yield from self._called(message)
            elif message.get("id") == self._requests:
                yield from self._answered(message)
        except ValidationError as error:
            _log.debug("%s sent a message of unknown shape: %s", self._title, error.title)
            if "method" not in message:
                yield self._failed("agent_failed", reason=f"{error.title} ?")

    def without_result(self, exit_code: int, stderr: str) -> AgentResult:
        return self._failed("agent_ended_early", exit_code=exit_code, stderr=stderr)

    # --- the conversation ---

    def _request(
        self, method: str, params: BaseModel, on_answer: Callable[[object], Iterator[AgentEvent]]
    ) -> None:
        self._requests += 1
        self._on_answer = on_answer
        request = {"id": self._requests, "method": method, "params": _dump(params)}
        self._out.append(_line(request))

    def _answered(self, message: _Json) -> Iterator[AgentEvent]:
        error = message.get("error")
        if isinstance(error, dict):
            yield from self._close_calls()
            yield AgentResult(error=self._refusal(error))
        else:
            yield from self._on_answer(message.get("result"))

    def _initialized(self, result: object) -> Iterator[AgentEvent]:
        answer = schema.InitializeResponse.model_validate(result)
        if answer.protocol_version != PROTOCOL_VERSION:
            yield self._failed("acp_version_unknown", version=answer.protocol_version)
            return
        abilities = answer.agent_capabilities or schema.AgentCapabilities()
        prompts, sessions = abilities.prompt_capabilities, abilities.session_capabilities
        self._takes_images = prompts is not None and bool(prompts.image)
        known, folder = self._assignment.session_id, str(self._assignment.folder)
        found, self._notices = mcp_servers(
            self._assignment.mcp_servers,
            agent=self._title,
            takes=_kinds(abilities.mcp_capabilities or schema.McpCapabilities()),
        )
        servers = [_mcp_server(server) for server in found]
        if known is None:
            new = schema.NewSessionRequest(cwd=folder, mcp_servers=servers)
            self._request("session/new", new, self._session_opened)
        elif sessions is not None and sessions.resume is not None:
            resume = schema.ResumeSessionRequest(cwd=folder, mcp_servers=servers, session_id=known)
            self._request("session/resume", resume, self._session_opened)
        elif abilities.load_session:
            load = schema.LoadSessionRequest(cwd=folder, mcp_servers=servers, session_id=known)
            self._request("session/load", load, self._session_opened)
        else:
            yield self._failed("session_not_found", session_id=known)

    def _session_opened(self, result: object) -> Iterator[AgentEvent]:
        if self._session_id is None:
            answer = schema.NewSessionResponse.model_validate(result)
            self._session_id = answer.session_id
            options = answer.config_options
        else:
            options = schema.LoadSessionResponse.model_validate(result or {}).config_options
        model, offered = _models(options or [])
        problem = self._check_model(model, offered) if self._check_model else None
        if problem is not None:
            yield AgentResult(error=problem)
            return
        yield SessionStarted(session_id=self._session_id, model=model)
        yield from self._notices
        is_lost = not all(image.path for image in self._assignment.images)
        if is_lost and not self._takes_images:
            words = text("notice.images_ignored", agent=self._title)
            yield Notice(code="images_ignored", text=words)
        prompt = schema.PromptRequest(session_id=self._session_id, prompt=self._prompt())
        self._request("session/prompt", prompt, self._turn_ended)
        self._is_prompted = True

    def _prompt(self) -> list[Any]:  # a list of the union that the library does not name
        assignment = self._assignment
        words = assignment.prompt
        if assignment.system_prompt and self._takes_system_prompt and not assignment.session_id:
            words = f"{assignment.system_prompt}\n\n{words}"
        if words.lstrip().startswith("/"):
            # Agents take a leading slash as a command of theirs, also behind blanks.
            words = _INVISIBLE + words
        blocks: list[Any] = [schema.TextContentBlock(type="text", text=words)]
        if self._takes_images:
            blocks += [
                schema.ImageContentBlock(type="image", data=image.data, mime_type=image.media_type)
                for image in assignment.images
            ]
        return blocks

    def _turn_ended(self, result: object) -> Iterator[AgentEvent]:
        answer = schema.PromptResponse.model_validate(result)
        yield from self._close_calls()
        usage = self._usage(answer.usage)
        reason = answer.stop_reason
        if reason == "refusal":
            error = _error("agent_refused", agent=self._title)
        elif reason in _EARLY_STOPS:
            words = text(_EARLY_STOPS[reason])
            error = _error("agent_stopped_early", agent=self._title, reason=words)
        else:
            error = None
        yield AgentResult(error=error, usage=usage)

    def _usage(self, usage: schema.Usage | None) -> Usage | None:
        if usage is None:
            return None
        cached = usage.cached_read_tokens or 0
        return Usage(
            input_tokens=usage.input_tokens + cached + (usage.cached_write_tokens or 0),
            output_tokens=usage.output_tokens,
            cached_tokens=cached,
            cost_usd=self._cost_usd,
        )

    # --- what the agent asks ---

    def _called(self, message: _Json) -> Iterator[AgentEvent]:
        if "id" not in message:
            if message["method"] == "session/update":
                yield from self._updated(
                    schema.SessionNotification.model_validate(message.get("params"))
                )
        elif message["method"] == "session/request_permission":
            self._answer(message, result=_dump(self._permission(message.get("params"))))
        else:
            # An agent that waits for an answer would wait for ever.
            self._answer(message, error={"code": _METHOD_NOT_FOUND, "message": "Method not found"})

    def _answer(self, message: _Json, **answer: _Json) -> None:
        self._out.append(_line({"id": message["id"], **answer}))

    def _permission(self, params: object) -> schema.RequestPermissionResponse:
        try:
            request = schema.RequestPermissionRequest.model_validate(params)
        except ValidationError:
            denied = schema.DeniedOutcome(outcome="cancelled")
            return schema.RequestPermissionResponse(outcome=denied)
        is_allowed = self._assignment.permission is Permission.UNATTENDED or self._is_inside(
            request.tool_call
        )
        for kind in _ALLOW if is_allowed else _REJECT:
            for option in request.options:
                if option.kind == kind:
                    chosen = schema.AllowedOutcome(outcome="selected", option_id=option.option_id)
                    return schema.RequestPermissionResponse(outcome=chosen)
        return schema.RequestPermissionResponse(outcome=schema.DeniedOutcome(outcome="cancelled"))

    def _is_inside(self, request: schema.ToolCallUpdate) -> bool:
        """Whether it reads or changes files of the working folder only, and says which."""
        call = self._calls.get(request.tool_call_id)
        kind = request.kind or (call.kind if call else None)
        diffs = [
            part.path
            for part in request.content or []
            if isinstance(part, schema.FileEditToolCallContent)
        ]
        paths = [location.path for location in request.locations or []] + diffs
        folder = self._assignment.folder.resolve()
        return (
            kind in _EDITING
            and bool(paths)
            and all((folder / Path(path)).resolve().is_relative_to(folder) for path in paths)
        )

    # --- what the agent tells ---

    def _updated(self, notification: schema.SessionNotification) -> Iterator[AgentEvent]:
        # Before the prompt an agent tells a resumed session's history; that was told already.
        if not self._is_prompted or notification.session_id != self._session_id:
            return
        update = notification.update
        if isinstance(update, schema.AgentMessageChunk):
            yield from self._say(update)
        elif isinstance(update, schema.AgentThoughtChunk):
            if isinstance(update.content, schema.TextContentBlock) and update.content.text:
                yield ReasoningDelta(text=update.content.text)
        elif isinstance(update, schema.ToolCallStart | schema.ToolCallProgress):
            self._is_interrupted_text = True
            yield from self._tool(update)
        elif isinstance(update, schema.AgentPlanUpdate):
            yield from self._plan(update)
        elif isinstance(update, schema.UsageUpdate):
            # It counts the whole session, so only of a new one it is the price of this turn. Zero
            # stands for a model without a price list.
            cost = update.cost
            if cost and cost.amount and cost.currency == "USD" and not self._assignment.session_id:
                self._cost_usd = cost.amount

    def _say(self, chunk: schema.AgentMessageChunk) -> Iterator[AgentEvent]:
        if not isinstance(chunk.content, schema.TextContentBlock) or not chunk.content.text:
            return
        words = chunk.content.text
        is_new = self._is_interrupted_text or chunk.message_id != self._message_id
        self._message_id, self._is_interrupted_text = chunk.message_id, False
        # Two messages of one answer are paragraphs, not one run-on word.
        yield TextDelta(text="\n\n" + words if is_new and self._has_text else words)
        self._has_text = True

    def _tool(self, update: schema.ToolCallStart | schema.ToolCallProgress) -> Iterator[AgentEvent]:
        title = update.title or update.kind or ""
        call = self._calls.setdefault(update.tool_call_id, _Call(name=title))
        call.kind = update.kind or call.kind
        if isinstance(update.raw_input, dict) and update.raw_input:
            call.input = update.raw_input
        if update.raw_output is not None:
            call.output = update.raw_output
        if update.content:
            call.content = update.content
        if update.locations:
            call.paths = tuple(location.path for location in update.locations)
        # A call that is still pending may not know yet what it will do.
        if not call.is_started and update.status not in (None, "pending"):
            yield _started(update.tool_call_id, call)
        if update.status in ("completed", "failed"):
            del self._calls[update.tool_call_id]
            yield from self._finished(update.tool_call_id, call, update.status == "failed")

    def _finished(self, call_id: str, call: _Call, has_failed: bool) -> Iterator[AgentEvent]:
        is_error = has_failed or _exit_code(call.output) not in (None, 0)
        yield ToolFinished(call_id=call_id, output=_output(call), is_error=is_error)
        if has_failed:
            return
        changes = {
            part.path: "edited" if part.old_text else "written"
            for part in call.content
            if isinstance(part, schema.FileEditToolCallContent)
        }
        if not changes and call.kind in _CHANGES:
            changes = dict.fromkeys(call.paths, _CHANGES[call.kind])
        for path, change in changes.items():
            yield FileChanged(path=str(self._assignment.folder / path), change=change)

    def _plan(self, plan: schema.AgentPlanUpdate) -> Iterator[AgentEvent]:
        self._plans += 1
        call_id = f"plan-{self._plans}"
        entries = [{"content": entry.content, "status": entry.status} for entry in plan.entries]
        yield ToolStarted(call_id=call_id, name="plan", input={"entries": entries})
        yield ToolFinished(call_id=call_id, output="")

    def _close_calls(self) -> Iterator[AgentEvent]:
        for call_id, call in self._calls.items():
            if not call.is_started:
                yield _started(call_id, call)
            yield ToolFinished(call_id=call_id, output=_output(call), is_error=True)
        self._calls.clear()

    # --- errors ---

    def _refusal(self, error: _Json) -> ErrorInfo:
        """An answer that is an error, in words."""
        details = error.get("data")
        details = details.get("details") if isinstance(details, dict) else details
        words = str(error.get("message") or "").removeprefix("Internal error").lstrip(": ")
        words = words or (details if isinstance(details, str) else "")
        if error.get("code") == _AUTH_REQUIRED:
            reason = words or "-"
            return _error("agent_not_signed_in", agent=self._title, reason=reason)
        if not self._is_prompted and self._assignment.session_id and self._requests > 1:
            return _error("session_not_found", session_id=self._assignment.session_id)
        return model_failure(words, self._title)

    def _failed(self, code: str, **values: object) -> AgentResult:
        return AgentResult(error=_error(code, **{"agent": self._title, **values}))


def model_failure(words: str, title: str) -> ErrorInfo:
    """What a model service said, passed on by an agent that does not tell the status."""
    lowered = words.lower()
    for pattern, code in _MEANINGS:
        if re.search(pattern, lowered):
            status = text("acp.answered_with_error")
            return _error(code, status=status, reason=words, agent=title)
    return _error("agent_failed", agent=title, reason=words)


def _kinds(abilities: schema.McpCapabilities) -> set[str]:
    """The kinds of tool servers that the agent takes; every agent starts programs."""
    return {"stdio"} | {kind for kind in ("http", "sse") if getattr(abilities, kind)}


def _mcp_server(server: McpServer) -> Any:  # one of a union that the library does not name
    headers = [schema.HttpHeader(name=n, value=value) for n, value in server.headers.items()]
    match server.kind:
        case "http":
            return schema.HttpMcpServer(
                type="http", name=server.name, url=server.url, headers=headers
            )
        case "sse":
            return schema.SseMcpServer(
                type="sse", name=server.name, url=server.url, headers=headers
            )
    env = [schema.EnvVariable(name=n, value=value) for n, value in server.env.items()]
    return schema.McpServerStdio(
        name=server.name, command=server.command, args=list(server.args), env=env
    )


def _models(options: list[Any]) -> tuple[str | None, frozenset[str]]:
    """The model of a session, and all that can be chosen."""
    for option in options:
        if isinstance(option, schema.SessionConfigOptionSelect) and option.category == "model":
            offered: set[str] = set()
            for entry in option.options:
                if isinstance(entry, schema.SessionConfigSelectGroup):
                    offered |= {inner.value for inner in entry.options}
                else:
                    offered.add(entry.value)
            return option.current_value, frozenset(offered)
    return None, frozenset()


def _started(call_id: str, call: _Call) -> ToolStarted:
    call.is_started = True
    known: _Json = {"paths": list(call.paths)} if call.paths else {}
    return ToolStarted(call_id=call_id, name=call.name, input=call.input or known)


def _exit_code(output: object) -> object:
    """Of a shell command: OpenCode calls one completed whatever it returned."""
    metadata = output.get("metadata") if isinstance(output, dict) else None
    return metadata.get("exit") if isinstance(metadata, dict) else None


def _output(call: _Call) -> str:
    words = [
        part.content.text
        for part in call.content
        if isinstance(part, schema.ContentToolCallContent)
        and isinstance(part.content, schema.TextContentBlock)
    ]
    if not words and isinstance(call.output, str):
        words = [call.output]
    return cut_output("\n".join(words))


def _error(code: str, /, **values: object) -> ErrorInfo:
    return ExecutorError(code, retryable=False, **values).info


def _dump(model: BaseModel) -> _Json:
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


def _line(message: _Json) -> bytes:
    return msgspec.json.encode({"jsonrpc": "2.0", **message}) + b"\n"
