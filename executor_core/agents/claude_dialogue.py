"""The JSON lines of Claude Code, in both directions.

Facts of the wire are those of the CLI 2.1.x with `--input-format stream-json`, as recorded with
2.1.197 and 2.1.332. When the run is over is decided in `claude_turn`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime

import msgspec

from executor_core.agents.agent import FOR_MODEL, FOR_TOOL, Assignment, Wait
from executor_core.agents.claude_failures import TITLE, claude_failure, refused_key, reset_time
from executor_core.agents.claude_remarks import Remarks, of_background, short
from executor_core.agents.claude_turn import IllegalMove, State, Task, Told, Turn
from executor_core.agents.claude_usage import Bill
from executor_core.agents.failures import failure
from executor_core.agents.loose_json import Json, as_dict, as_dicts, as_str
from executor_core.agents.mcp import ToolServers, mcp_servers
from executor_core.agents.tool_output import cut_output
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
)
from executor_core.texts import text
from executor_core.unicode import decode_json

_log = logging.getLogger("executor.agents")

MAX_REFUSED_RETRIES = 2
"""The CLI tries a refused key ten times in three minutes; this often is enough."""
BACKGROUND_WAIT_S = 600.0
_FILE_TOOLS = {
    "Write": "written",
    "Edit": "edited",
    "MultiEdit": "edited",
    "NotebookEdit": "edited",
}


class ClaudeDialogue:
    """The prompt goes in as one line; events come out until all that it brought is over.

    Shell commands in the background are waited for up to `background_s` behind the answer.
    """

    def __init__(self, assignment: Assignment, *, background_s: float = BACKGROUND_WAIT_S) -> None:
        self._assignment = assignment
        self._background_s = background_s
        self._turn = Turn()
        servers, _ = mcp_servers(assignment.mcp_servers, agent=TITLE)
        self._remarks = Remarks(assignment.permission, ToolServers(servers, TITLE))
        self._bill = Bill(is_priced=not assignment.model.base_url)
        self._is_asked = False
        self._session_id: str | None = None
        self._streamed: list[str] = []
        self._has_text = False
        self._synthetic = ""
        self._final_text = ""
        self._error: ErrorInfo | None = None
        self._kind = ""
        self._resets_at: datetime | None = None
        self._refused_retries = 0
        self._file_tools: dict[str, FileChanged] = {}
        self._commands: dict[str, str] = {}

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
        if self._turn.is_over:
            return
        try:
            message = decode_json(line)
        except ValueError:
            # Update notices and warnings may stand between the events.
            _log.debug("Claude Code printed a line that is no event (%d bytes)", len(line))
            return
        if not isinstance(message, dict):
            return
        try:
            yield from self._events(message)
        except IllegalMove as error:
            _log.warning("Claude Code told %s", error)
        if self._turn.is_over:
            yield self._last_word()

    def _events(self, message: Json) -> Iterator[AgentEvent]:
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
            case "rate_limit_event":
                self._resets_at = reset_time(message) or self._resets_at
            case "result":
                yield from self._result(message)

    def waits(self) -> Wait:
        if self._turn.state is not State.ANSWERED:
            return FOR_TOOL if self._turn.is_using_tool else FOR_MODEL
        return Wait(
            limit_s=self._turn.may_take_s(self._background_s),
            is_background=True,
            then=(*of_background(self._turn, "ended"), self._last_word()),
        )

    def without_result(self, exit_code: int, stderr: str) -> AgentResult:
        return AgentResult(error=failure("agent_ended_early", exit_code=exit_code, stderr=stderr))

    def _system(self, message: Json) -> Iterator[AgentEvent]:
        task_id = as_str(message.get("task_id"))
        match message.get("subtype"):
            case "init":
                yield from self._init(message)
            case "api_retry":
                yield from self._retry(message)
            case "task_started":
                self._turn.task_started(task_id, self._task(message))
            case "task_notification":
                task = self._turn.task_ended(task_id)
                yield from self._remarks.on_task_end(task, message)
            case "background_tasks_changed":
                tasks = as_dicts(message.get("tasks"))
                self._turn.background_is({as_str(t.get("task_id")): self._task(t) for t in tasks})

    def _task(self, message: Json) -> Task:
        call_id = as_str(message.get("tool_use_id"))
        words = self._commands.get(call_id) or as_str(message.get("description"))
        return Task(as_str(message.get("task_type")), short(words), call_id)

    def _init(self, message: Json) -> Iterator[AgentEvent]:
        session_id = as_str(message.get("session_id"))
        if session_id and session_id != self._session_id:
            self._session_id = session_id
            yield SessionStarted(session_id=session_id, model=as_str(message.get("model")) or None)
        yield from self._remarks.on_init(message)
        self._turn.began()

    def _retry(self, message: Json) -> Iterator[AgentEvent]:
        status = message.get("error_status")
        if status == 401:
            self._refused_retries += 1
            if self._refused_retries >= MAX_REFUSED_RETRIES:
                yield AgentResult(error=refused_key(as_str(message.get("error"))))
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
        self._kind = as_str(message.get("error")) or self._kind
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
                else:
                    # What was streamed broke off, and the whole was asked for again.
                    self._streamed.clear()
                    yield from self._say(words)

    def _tool_started(self, block: Json) -> ToolStarted:
        call_id, name = as_str(block.get("id")), as_str(block.get("name"))
        tool_input = as_dict(block.get("input"))
        self._turn.tool_called(call_id)
        self._commands[call_id] = as_str(tool_input.get("command"))
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
            self._turn.tool_returned(call_id)
            self._commands.pop(call_id, None)
            self._remarks.has_worked = self._remarks.has_worked or not is_error
            output = cut_output(_plain(block.get("content")))
            yield ToolFinished(call_id=call_id, output=output, is_error=is_error)
            changed = self._file_tools.pop(call_id, None)
            if changed is not None and not is_error:
                yield changed

    def _result(self, message: Json) -> Iterator[AgentEvent]:
        words = as_str(message.get("result"))
        self._bill.add(message)
        yield from self._remarks.on_result(message)
        told = self._meaning(message)
        is_of_before = told is Told.REPORT and self._turn.state is State.ASKED
        queued = message.get("queued_turn_count")
        self._turn.ended(told, queued if isinstance(queued, int) else None)
        if is_of_before:
            return
        if told is Told.FAILURE:
            self._error = claude_failure(
                message,
                words or self._synthetic,
                kind=self._kind,
                resets_at=self._resets_at,
                session_id=self._assignment.session_id,
            )
            return
        if self._synthetic and not self._has_text:
            yield from self._say(self._synthetic)
        self._final_text = words or self._final_text
        yield from of_background(self._turn, "waits")

    def _meaning(self, message: Json) -> Told:
        """What a `result` says to the turn."""
        is_report = as_dict(message.get("origin")).get("kind") == "task-notification"
        if is_report and self._turn.state is State.ASKED:
            return Told.REPORT  # even if it failed: the prompt's own result will tell
        # Some versions say `error_max_turns` without calling it an error.
        if message.get("is_error") or message.get("subtype", "success") != "success":
            return Told.FAILURE
        return Told.REPORT if is_report else Told.ANSWER

    def _last_word(self) -> AgentResult:
        error = self._error or self._remarks.forbidden()
        words = "" if error else self._final_text
        return AgentResult(final_text=words, error=error, usage=self._bill.usage)


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
