"""The JSON lines of Claude Code, in both directions.

Facts of the wire are those of the CLI 2.1.x with `--input-format stream-json`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

import msgspec

from executor_core.agents.agent import Assignment
from executor_core.agents.loose_json import Json, as_dict, as_dicts, as_float, as_int, as_str
from executor_core.agents.tool_output import cut_output
from executor_core.errors import ExecutorError
from executor_core.model import (
    AgentEvent,
    AgentResult,
    ErrorInfo,
    FileChanged,
    Notice,
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

TITLE = "Claude Code"
MAX_REFUSED_RETRIES = 2
"""The CLI tries a refused key ten times in three minutes; this often is enough."""

_FILE_TOOLS = {
    "Write": "written",
    "Edit": "edited",
    "MultiEdit": "edited",
    "NotebookEdit": "edited",
}
_ERROR_CODES = {401: "model_key_refused", 403: "model_access_denied", 404: "model_unknown"}
_ERROR_CODES |= {429: "model_rate_limited", 529: "model_overloaded"}


class ClaudeDialogue:
    """One turn: the prompt goes in as one line, events come out until `result`."""

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._is_asked = False
        self._session_id: str | None = None
        self._streamed: list[str] = []
        self._has_text = False
        self._synthetic = ""
        self._refused_retries = 0
        self._file_tools: dict[str, FileChanged] = {}

    def outgoing(self) -> bytes:
        """The prompt, once."""
        if self._is_asked:
            return b""
        self._is_asked = True
        prompt = self._assignment.prompt
        if prompt.startswith("/"):
            # A leading slash would be taken as a command of the CLI; a line break makes it text.
            prompt = "\n" + prompt
        content: list[Json] = [{"type": "text", "text": prompt}]
        content += [
            {
                "type": "image",
                "source": {"type": "base64", "media_type": image.media_type, "data": image.data},
            }
            for image in self._assignment.images
        ]
        message = {"role": "user", "content": content}
        asked = _line({"type": "user", "message": message, "parent_tool_use_id": None})
        return self._introduction() + asked

    def _introduction(self) -> bytes:
        """The agents that it may hand work to; in a file or an argument others would see them."""
        members = {
            member.name: {
                "description": member.description,
                "prompt": member.prompt,
                "model": "inherit",
            }
            for member in self._assignment.members
        }
        request = {"subtype": "initialize", "agents": members}
        asked = {"type": "control_request", "request_id": "initialize", "request": request}
        return _line(asked) if members else b""

    def interrupt(self) -> bytes:
        return _line(
            {
                "type": "control_request",
                "request_id": "interrupt",
                "request": {"subtype": "interrupt"},
            }
        )

    def feed(self, line: bytes) -> Iterator[AgentEvent]:
        try:
            message = decode_json(line)
        except ValueError:
            # Update notices and warnings may stand between the events.
            _log.debug("Claude Code printed a line that is no event (%d bytes)", len(line))
            return
        if not isinstance(message, dict):
            return
        match message.get("type"):
            case "system":
                yield from self._system(message)
            case "stream_event" if not message.get("parent_tool_use_id"):
                yield from self._stream_event(as_dict(message.get("event")))
            case "assistant":
                yield from self._assistant(message)
            case "user":
                self._streamed.clear()
                yield from self._tool_results(as_dict(message.get("message")).get("content"))
            case "result":
                yield from self._result(message)

    def without_result(self, exit_code: int, stderr: str) -> AgentResult:
        return AgentResult(error=_error("agent_ended_early", exit_code=exit_code, stderr=stderr))

    def _system(self, message: Json) -> Iterator[AgentEvent]:
        session_id = as_str(message.get("session_id"))
        if message.get("subtype") == "init" and session_id and session_id != self._session_id:
            self._session_id = session_id
            model = as_str(message.get("model")) or None
            yield SessionStarted(session_id=session_id, model=model)
        elif message.get("subtype") == "api_retry":
            yield from self._retry(message)

    def _retry(self, message: Json) -> Iterator[AgentEvent]:
        status = message.get("error_status")
        if status == 401:
            self._refused_retries += 1
            if self._refused_retries >= MAX_REFUSED_RETRIES:
                yield AgentResult(error=_api_error(401, as_str(message.get("error"))))
                return
        attempt, attempts = message.get("attempt", "?"), message.get("max_retries", "?")
        key = "notice.model_retry" if status else "notice.model_unreachable"
        words = text(key, status=status, attempt=attempt, attempts=attempts)
        yield Notice(code="model_retry", text=words)

    def _stream_event(self, event: Json) -> Iterator[AgentEvent]:
        match event.get("type"):
            case "message_start" | "content_block_start":
                self._streamed.clear()
            case "content_block_delta":
                delta = as_dict(event.get("delta"))
                if delta.get("type") == "text_delta":
                    yield from self._say(as_str(delta.get("text")))
                elif delta.get("type") == "thinking_delta" and as_str(delta.get("thinking")):
                    yield ReasoningDelta(text=delta["thinking"])

    def _say(self, words: str) -> Iterator[AgentEvent]:
        if not words:
            return
        is_new_block = not self._streamed
        self._streamed.append(words)
        # Two blocks of one answer are paragraphs, not one run-on word.
        yield TextDelta(text="\n\n" + words if is_new_block and self._has_text else words)
        self._has_text = True

    def _assistant(self, message: Json) -> Iterator[AgentEvent]:
        body = as_dict(message.get("message"))
        is_sub_agent = bool(message.get("parent_tool_use_id"))
        for block in _blocks(body.get("content")):
            if block.get("type") == "tool_use":
                yield self._tool_started(block)
            elif block.get("type") == "text" and not is_sub_agent:
                words = as_str(block.get("text"))
                if body.get("model") == "<synthetic>":
                    # The CLI's own words; whether they are an answer or an error comes later.
                    self._synthetic = words
                elif words.startswith(streamed := "".join(self._streamed)):
                    yield from self._say(words[len(streamed) :])

    def _tool_started(self, block: Json) -> ToolStarted:
        call_id, name = as_str(block.get("id")), as_str(block.get("name"))
        tool_input = as_dict(block.get("input"))
        path = as_str(tool_input.get("file_path")) or as_str(tool_input.get("notebook_path"))
        if name in _FILE_TOOLS and path:
            self._file_tools[call_id] = FileChanged(path=path, change=_FILE_TOOLS[name])
        return ToolStarted(call_id=call_id, name=name, input=tool_input)

    def _tool_results(self, content: object) -> Iterator[AgentEvent]:
        for block in _blocks(content):
            if block.get("type") != "tool_result":
                continue
            call_id = as_str(block.get("tool_use_id"))
            is_error = bool(block.get("is_error"))
            output = cut_output(_plain(block.get("content")))
            yield ToolFinished(call_id=call_id, output=output, is_error=is_error)
            changed = self._file_tools.pop(call_id, None)
            if changed is not None and not is_error:
                yield changed

    def _result(self, message: Json) -> Iterator[AgentEvent]:
        words = as_str(message.get("result"))
        usage = self._usage(message)
        # Some versions say `error_max_turns` without calling it an error.
        if message.get("is_error") or message.get("subtype", "success") != "success":
            yield AgentResult(error=self._failure(message, words), usage=usage)
            return
        if self._synthetic and not self._has_text:
            yield from self._say(self._synthetic)
        yield AgentResult(final_text=words, usage=usage)

    def _failure(self, message: Json, words: str) -> ErrorInfo:
        words = words or self._synthetic
        errors = message.get("errors")
        errors = " ".join(map(as_str, errors)) if isinstance(errors, list) else ""
        if "No conversation found" in errors + words:
            return _error("session_not_found", session_id=self._assignment.session_id)
        if "Please run /login" in words or "Not logged in" in words:
            return _error("claude_code_not_signed_in")
        if "Unable to connect to API" in words:
            return _error("model_unreachable", reason=words)
        if "usage limit" in words.lower():
            return _error("model_usage_limit", reason=words)
        if status := as_int(message.get("api_error_status")):
            return _api_error(status, words)
        reason = words or errors or as_str(message.get("subtype"))
        return _error("agent_failed", agent=TITLE, reason=reason)

    def _usage(self, message: Json) -> Usage:
        usage = as_dict(message.get("usage"))
        cached = as_int(usage.get("cache_read_input_tokens"))
        written = as_int(usage.get("cache_creation_input_tokens"))
        # For models behind another endpoint the CLI invents a price.
        is_priced = not self._assignment.model.base_url
        return Usage(
            input_tokens=as_int(usage.get("input_tokens")) + cached + written,
            output_tokens=as_int(usage.get("output_tokens")),
            cached_tokens=cached,
            cost_usd=as_float(message.get("total_cost_usd")) if is_priced else None,
        )


def _api_error(status: int, words: str) -> ErrorInfo:
    code = _ERROR_CODES.get(status, "model_failing" if status >= 500 else "model_refused")
    return _error(code, status=status, reason=_tidy(words))


def _tidy(words: str) -> str:
    """The vendor's sentence inside `API Error: 400 {"error": {"message": …}}`."""
    if (found := re.search(r"\{.*\}", words, re.DOTALL)) is not None:
        try:
            body = as_dict(msgspec.json.decode(found.group()))
        except msgspec.DecodeError:
            return words
        if isinstance(sentence := as_dict(body.get("error")).get("message"), str):
            return sentence
    return words


def _error(code: str, /, **values: object) -> ErrorInfo:
    return ExecutorError(code, retryable=False, **values).info


def _line(message: Json) -> bytes:
    return msgspec.json.encode(message) + b"\n"


def _blocks(content: object) -> list[Json]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return as_dicts(content)


def _plain(content: object) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(as_str(block.get("text")) for block in _blocks(content))
