"""The JSON lines of Claude Code, in both directions.

Facts of the wire are those of the CLI 2.1.x with `--input-format stream-json`, as recorded with
2.1.197 and 2.1.332. When the run is over is decided in `claude_turn`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from datetime import datetime

from msgspec.structs import replace

from executor_core.agents.agent import FOR_MODEL, FOR_TOOL, Assignment, Wait
from executor_core.agents.answer import Answer, cut_output
from executor_core.agents.claude_notices import (
    TITLE,
    Remarks,
    claude_failure,
    of_background,
    refused_key,
    reset_time,
    short,
)
from executor_core.agents.claude_turn import IllegalMove, State, Task, Told, Turn
from executor_core.agents.failures import failed, notice
from executor_core.agents.json_access import (
    Json,
    JsonLines,
    as_dict,
    as_dicts,
    as_float,
    as_int,
    as_str,
)
from executor_core.agents.mcp import ToolServers, mcp_servers
from executor_core.model import (
    AgentEvent,
    AgentResult,
    FileChanged,
    ReasoningDelta,
    SessionStarted,
    ToolFinished,
    ToolStarted,
    Usage,
)
from executor_core.texts import Message

_log = logging.getLogger("executor.agents")

MAX_REFUSED_RETRIES = 2
"""The CLI tries a refused key ten times in three minutes; this often is enough."""
BACKGROUND_WAIT_S = 600.0
_STOPPED = frozenset({"completed", "failed", "killed", "stopped"})
_FILE_TOOLS = {
    "Write": "written",
    "Edit": "edited",
    "MultiEdit": "edited",
    "NotebookEdit": "edited",
}


class ClaudeDialogue(JsonLines):
    """The prompt goes in as one line; events come out until all that it brought is over.

    Shell commands in the background are waited for up to `background_s` behind the answer.
    """

    def __init__(self, assignment: Assignment, *, background_s: float = BACKGROUND_WAIT_S) -> None:
        super().__init__(TITLE)
        self._assignment = assignment
        self._background_s = background_s
        self._turn = Turn()
        servers, _ = mcp_servers(assignment.mcp_servers, agent=TITLE)
        self._remarks = Remarks(assignment.permission, ToolServers(servers, TITLE))
        self._bill = Bill(is_priced=not assignment.model.base_url)
        self._introduce_members()
        self._prompt()
        self._session_id: str | None = None
        self._answer = Answer()
        self._block: int | None = None
        self._whole = ""
        self._synthetic = ""
        self._final_text = ""
        self._error: Message | None = None
        self._kind = ""
        self._resets_at: datetime | None = None
        self._refused_retries = 0
        self._file_tools: dict[str, FileChanged] = {}
        self._commands: dict[str, str] = {}

    def _prompt(self) -> None:
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
        self._send({"type": "user", "message": message, "parent_tool_use_id": None})

    def _introduce_members(self) -> None:
        """The agents that it may hand work to; in a file or an argument others would see them."""
        members = {
            member.name: {
                "description": member.description,
                "prompt": member.prompt,
                "model": "inherit",
            }
            for member in self._assignment.members
        }
        if members:
            self._request("initialize", agents=members)

    def interrupt(self) -> bytes:
        self._request("interrupt")
        return self.outgoing()

    def _request(self, kind: str, /, **more: object) -> None:
        request = {"subtype": kind, **more}
        self._send({"type": "control_request", "request_id": kind, "request": request})

    def _heard(self, message: Json) -> Iterator[AgentEvent]:
        if self._turn.is_over:
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
                yield from self._stream_event(as_dict(message.get("event")), message)
            case "assistant":
                yield from self._assistant(message)
            case "user":
                if not message.get("parent_tool_use_id"):
                    yield from self._text_is_over()
                yield from self._tool_results(as_dict(message.get("message")).get("content"))
                self._ask_for_servers()
            case "control_response":
                answer = as_dict(as_dict(message.get("response")).get("response"))
                yield from self._remarks.on_servers(answer.get("mcpServers"))
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
        return failed("agent_ended_early", exit_code=exit_code, stderr=stderr)

    def _system(self, message: Json) -> Iterator[AgentEvent]:
        task_id = as_str(message.get("task_id"))
        match message.get("subtype"):
            case "init":
                yield from self._init(message)
            case "api_retry":
                yield from self._retry(message)
            case "task_started":
                self._turn.task_started(task_id, self._task(message))
            case "task_updated":
                if as_dict(message.get("patch")).get("status") in _STOPPED:
                    self._turn.task_stopped(task_id)
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
        self._ask_for_servers()
        self._turn.began()

    def _ask_for_servers(self) -> None:
        """Of one that does not start it says nothing by itself once a turn has begun."""
        if self._remarks.servers.are_starting:
            self._request("mcp_status")

    def _retry(self, message: Json) -> Iterator[AgentEvent]:
        status = message.get("error_status")
        if status == 401:
            self._refused_retries += 1
            if self._refused_retries >= MAX_REFUSED_RETRIES:
                yield AgentResult(error=refused_key(as_str(message.get("error"))))
                return
        attempt, attempts = message.get("attempt", "?"), message.get("max_retries", "?")
        key = "notice.model_retry" if status else "notice.model_unreachable"
        counts = {"attempt": attempt, "attempts": attempts}
        yield notice(key, code="model_retry", status=status, **counts)

    def _stream_event(self, event: Json, message: Json) -> Iterator[AgentEvent]:
        match event.get("type"):
            case "message_start":
                yield from self._text_is_over()
                self._block = None
            case "content_block_start":
                self._answer.close()
                self._whole = ""
            case "content_block_delta":
                delta = as_dict(event.get("delta"))
                if delta.get("type") == "text_delta":
                    self._block = as_int(event.get("index"))
                    yield from self._answer.more(self._block, as_str(delta.get("text")))
                elif delta.get("type") == "thinking_delta" and as_str(delta.get("thinking")):
                    yield ReasoningDelta(text=delta["thinking"])
            case "message_stop" if gone := as_dict(message.get("abandoned_blocks")):
                # It broke off, and the model is asked to go on behind what is there of it.
                yield from self._text_is_over()
                if self._block is not None and gone.get("from_block_index") == self._block + 1:
                    self._answer.go_on()

    def _text_is_over(self) -> Iterator[AgentEvent]:
        """What grows yet is given up: a text that was said to the end was told whole by now."""
        yield from self._answer.abandon()
        self._whole = ""

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
                elif words != self._whole:
                    yield from self._answer.whole(self._block, words)
                    self._whole = words

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
        if self._answer.is_empty:
            yield from self._answer.whole(None, self._synthetic)
        self._final_text = words or self._final_text
        yield from self._remarks.servers.still_missing()
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
        told = self._answer.result(error, self._bill.usage)
        if told.replaces_text:
            return told
        return replace(told, final_text="" if error else self._final_text)


def _blocks(content: object) -> list[Json]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return as_dicts(content)


def _plain(content: object) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(as_str(block.get("text")) for block in _blocks(content))


_OF_MODEL = (
    *("inputTokens", "cacheCreationInputTokens", "cacheReadInputTokens", "outputTokens"),
    "costUSD",
)
_OF_LOOP = (
    *("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens"),
    "total_cost_usd",
)
"""New input, input written to the cache and read from it, output; and the price."""


class Bill:
    """Adds up the `result` lines of one process.

    `total_cost_usd` and `modelUsage` grow over the process; from about 2.1.300 on they may hold
    earlier processes of a resumed conversation as well, which have been told before. Those versions
    tell what is new in `model_usage_since_last_result`. `usage` is without sub-agents.
    """

    def __init__(self, *, is_priced: bool) -> None:
        self._is_priced = is_priced
        self.usage = Usage()

    def add(self, result: Json) -> None:
        since = result.get("model_usage_since_last_result")
        if isinstance(since, dict):
            self.usage = _sum([self.usage, self._of_models(since)])
        elif models := as_dict(result.get("modelUsage")):
            self.usage = self._of_models(models)
        else:
            loop = {**as_dict(result.get("usage")), _OF_LOOP[-1]: result.get(_OF_LOOP[-1])}
            self.usage = self._read(loop, _OF_LOOP)

    def _of_models(self, models: Json) -> Usage:
        return _sum(self._read(as_dict(model), _OF_MODEL) for model in models.values())

    def _read(self, counts: Json, names: tuple[str, str, str, str, str]) -> Usage:
        new, written, cached, output = (as_int(counts.get(name)) for name in names[:-1])
        # For models behind another endpoint the CLI invents a price.
        return Usage(
            input_tokens=new + written + cached,
            output_tokens=output,
            cached_tokens=cached,
            cost_usd=as_float(counts.get(names[-1])) if self._is_priced else None,
        )


def _sum(parts: Iterable[Usage]) -> Usage:
    parts = list(parts)
    costs = [part.cost_usd for part in parts if part.cost_usd is not None]
    return Usage(
        input_tokens=sum(part.input_tokens for part in parts),
        output_tokens=sum(part.output_tokens for part in parts),
        cached_tokens=sum(part.cached_tokens for part in parts),
        cost_usd=sum(costs) if costs else None,
    )
