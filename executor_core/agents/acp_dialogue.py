"""One turn in the Agent Client Protocol, and a handshake without one; both without any I/O.

The shapes are those of the protocol's own library, version 1 of the protocol. Of its connection
nothing is used: pipes, time limits and the end of the process belong to `drive`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from acp import schema
from pydantic import BaseModel, ValidationError

from executor_core import __version__
from executor_core.agents.acp_calls import Calls
from executor_core.agents.acp_failures import AUTH_REQUIRED, early_stop, refusal
from executor_core.agents.agent import FOR_MODEL, FOR_TOOL, Assignment, Wait
from executor_core.agents.answer import Answer
from executor_core.agents.drive import drive
from executor_core.agents.failures import failed, failure, notice
from executor_core.agents.host import AgentHost
from executor_core.agents.json_access import Json, JsonLines, as_dict, as_str
from executor_core.agents.mcp import McpServer, mcp_servers
from executor_core.errors import ExecutorError
from executor_core.model import (
    AgentEvent,
    AgentOffer,
    AgentResult,
    Notice,
    ReasoningDelta,
    SessionStarted,
    Usage,
)
from executor_core.texts import Message, text

_log = logging.getLogger("executor.agents")

PROTOCOL_VERSION = 1
LATE_WORDS_S = 0.5
"""So long after the turn is over an agent's updates still belong to it: some send the last ones
behind the answer to the prompt."""
_METHOD_NOT_FOUND = -32601
_INVISIBLE = "\u200b"

ModelCheck = Callable[[str | None, frozenset[str]], Message | None]
"""Judges the model of a session, before anything is sent to it: its name and all that are offered;
None and nothing where the agent does not say."""


class _JsonRpc(JsonLines):
    """Our side of the protocol: requests are numbered from 1, and the first says who we are."""

    def __init__(self, title: str) -> None:
        super().__init__(title)
        self._requests = 0

    def _introduce_us(self) -> None:
        request = schema.InitializeRequest(
            protocol_version=PROTOCOL_VERSION,
            # Neither our files nor our terminals: the agent has its own hands, and ends with them.
            client_capabilities=schema.ClientCapabilities(),
            client_info=schema.Implementation(name="wegent-executor", version=__version__),
        )
        self._ask("initialize", request)

    def _ask(self, method: str, params: BaseModel) -> None:
        self._requests += 1
        self._send({"id": self._requests, "method": method, "params": _dump(params)})

    def _send(self, message: Json) -> None:
        super()._send({"jsonrpc": "2.0", **message})


class AcpDialogue(_JsonRpc):
    """The handshake, a session, one prompt, and everything up to the end of the turn.

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
        super().__init__(title)
        self._assignment = assignment
        self._takes_system_prompt = takes_system_prompt
        self._check_model = check_model
        self._on_answer: Callable[[object], Iterator[AgentEvent]] = self._initialized
        self._takes_images = False
        self._notices: list[Notice] = []
        self._session_id = assignment.session_id
        self._load: schema.LoadSessionRequest | None = None
        """What is tried where the agent does not know how to resume, though it said so."""
        self._is_prompted = False
        self._answer = Answer()
        self._calls = Calls(assignment.folder, assignment.permission)
        self._end: AgentResult | None = None
        self._cost_usd: float | None = None
        self._introduce_us()

    # --- what drive() asks ---

    def interrupt(self) -> bytes:
        if not self._is_prompted or self._session_id is None:
            return b""
        notification = schema.CancelNotification(session_id=self._session_id)
        self._send({"method": "session/cancel", "params": _dump(notification)})
        return self.outgoing()

    def waits(self) -> Wait:
        if self._end is not None:
            # Only more words are a reason to wait on: some tell of other things without end.
            late = (self._last_word(self._end),)
            return Wait(limit_s=LATE_WORDS_S, is_background=True, then=late)
        return FOR_TOOL if self._calls.are_at_work else FOR_MODEL

    def _heard(self, message: Json) -> Iterator[AgentEvent]:
        try:
            if "method" in message:
                yield from self._called(message)
            elif message.get("id") == self._requests and self._end is None:
                yield from self._answered(message)
        except ValidationError as error:
            _log.debug("%s sent a message of unknown shape: %s", self._title, error.title)
            if "method" not in message:
                reason = text("acp.unknown_shape", name=error.title)
                yield failed("agent_failed", agent=self._title, reason=reason)

    def without_result(self, exit_code: int, stderr: str) -> AgentResult:
        if self._end is not None:
            return self._last_word(self._end)
        error = failure("agent_ended_early", agent=self._title, exit_code=exit_code, stderr=stderr)
        return self._answer.result(error)

    def abandon(self) -> Iterator[AgentEvent]:
        """The agent gives up the message that it is at. Over the protocol none can say so."""
        yield from self._answer.abandon()

    # --- the conversation ---

    def _request(
        self, method: str, params: BaseModel, on_answer: Callable[[object], Iterator[AgentEvent]]
    ) -> None:
        self._on_answer = on_answer
        self._ask(method, params)

    def _answered(self, message: Json) -> Iterator[AgentEvent]:
        error = message.get("error")
        if not isinstance(error, dict):
            yield from self._on_answer(message.get("result"))
        elif self._is_prompted:
            yield from self._turn_over(AgentResult(error=refusal(error, self._title)))
        elif self._load is not None and error.get("code") == _METHOD_NOT_FOUND:
            # Qwen Code 0.15 says that it resumes sessions, and knows only how to load them.
            load, self._load = self._load, None
            self._request("session/load", load, self._session_opened)
        elif self._is_resuming and error.get("code") != AUTH_REQUIRED:
            _log.info("%s cannot take up a session: %s", self._title, error.get("message"))
            yield self._lost_session()
        else:
            yield AgentResult(error=refusal(error, self._title))

    @property
    def _is_resuming(self) -> bool:
        return self._assignment.session_id is not None and self._requests > 1

    def _lost_session(self) -> AgentResult:
        return failed("session_not_found", session_id=self._assignment.session_id)

    def _initialized(self, result: object) -> Iterator[AgentEvent]:
        answer = schema.InitializeResponse.model_validate(result)
        if (version := answer.protocol_version) != PROTOCOL_VERSION:
            yield failed("acp_version_unknown", agent=self._title, version=version)
            return
        abilities = answer.agent_capabilities or schema.AgentCapabilities()
        prompts, sessions = abilities.prompt_capabilities, abilities.session_capabilities
        self._takes_images = prompts is not None and bool(prompts.image)
        known, folder = self._assignment.session_id, str(self._assignment.folder)
        found, self._notices = mcp_servers(
            self._assignment.mcp_servers,
            agent=self._title,
            takes=kinds_of(abilities.mcp_capabilities or schema.McpCapabilities()),
        )
        servers = [told_server(server) for server in found]
        if known is None:
            new = schema.NewSessionRequest(cwd=folder, mcp_servers=servers)
            self._request("session/new", new, self._session_opened)
            return
        load = schema.LoadSessionRequest(cwd=folder, mcp_servers=servers, session_id=known)
        if sessions is not None and sessions.resume is not None:
            resume = schema.ResumeSessionRequest(cwd=folder, mcp_servers=servers, session_id=known)
            self._load = load if abilities.load_session else None
            self._request("session/resume", resume, self._session_opened)
        elif abilities.load_session:
            self._request("session/load", load, self._session_opened)
        else:
            yield self._lost_session()

    def _session_opened(self, result: object) -> Iterator[AgentEvent]:
        if self._session_id is None:
            answer = schema.NewSessionResponse.model_validate(result)
            self._session_id = answer.session_id
            options = answer.config_options
        else:
            options = schema.LoadSessionResponse.model_validate(result or {}).config_options
        model, offered = chosen_model(options or [])
        problem = self._check_model(model, offered) if self._check_model else None
        if problem is not None:
            yield AgentResult(error=problem)
            return
        yield SessionStarted(session_id=self._session_id, model=model)
        yield from self._notices
        is_lost = not all(image.path for image in self._assignment.images)
        if is_lost and not self._takes_images:
            yield notice("notice.images_ignored", agent=self._title)
        prompt = schema.PromptRequest(session_id=self._session_id, prompt=self._prompt())
        self._request("session/prompt", prompt, self._prompt_answered)
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

    # --- the end of the turn ---

    def _prompt_answered(self, result: object) -> Iterator[AgentEvent]:
        """In version 1 this ends the turn; in the draft of version 2 an update does."""
        answer = as_dict(result)
        error = early_stop(as_str(answer.get("stopReason")), self._title)
        yield from self._turn_over(AgentResult(error=error, usage=self._usage(answer.get("usage"))))

    def _turn_over(self, end: AgentResult) -> Iterator[AgentEvent]:
        """The one place where a turn is over. `end` is said once nothing follows any more."""
        self._end = end
        yield from self._calls.close()

    def _last_word(self, end: AgentResult) -> AgentResult:
        error = end.error
        denied = self._calls.denied.names
        if error is None and denied and self._answer.is_empty:
            reason = text("notice.tool_denied", tool=denied, what="").strip()
            error = failure("agent_forbidden", agent=self._title, reason=reason)
        return self._answer.result(error, end.usage)

    def _usage(self, told: object) -> Usage | None:
        try:
            usage = schema.Usage.model_validate(told)
        except ValidationError:
            return None
        cached = usage.cached_read_tokens or 0
        return Usage(
            input_tokens=usage.input_tokens + cached + (usage.cached_write_tokens or 0),
            output_tokens=usage.output_tokens,
            cached_tokens=cached,
            cost_usd=self._cost_usd,
        )

    # --- what the agent asks ---

    def _called(self, message: Json) -> Iterator[AgentEvent]:
        if "id" not in message:
            if message["method"] == "session/update":
                yield from self._updated(
                    schema.SessionNotification.model_validate(message.get("params"))
                )
        elif message["method"] == "session/request_permission":
            self._reply(message, result=_dump(self._calls.answer(message.get("params"))))
        else:
            # An agent that waits for an answer would wait for ever.
            self._reply(message, error={"code": _METHOD_NOT_FOUND, "message": "Method not found"})

    def _reply(self, message: Json, **answer: Json) -> None:
        self._send({"id": message["id"], **answer})

    # --- what the agent tells ---

    def _updated(self, notification: schema.SessionNotification) -> Iterator[AgentEvent]:
        # Before the prompt an agent tells a resumed session's history; that was told already.
        if not self._is_prompted or notification.session_id != self._session_id:
            return
        update = notification.update
        if isinstance(update, schema.AgentMessageChunk):
            yield from self._answer.more(update.message_id, _words(update.content))
        elif isinstance(update, schema.AgentThoughtChunk):
            if words := _words(update.content):
                yield ReasoningDelta(text=words)
        elif isinstance(update, schema.ToolCallStart | schema.ToolCallProgress):
            self._answer.close()
            yield from self._calls.told(update)
        elif isinstance(update, schema.AgentPlanUpdate):
            yield from self._calls.plan(update)
        elif isinstance(update, schema.UsageUpdate):
            # It counts the whole session, so only of a new one it is the price of this turn. Zero
            # stands for a model without a price list.
            cost = update.cost
            if cost and cost.amount and cost.currency == "USD" and not self._assignment.session_id:
                self._cost_usd = cost.amount


def _words(content: object) -> str:
    return content.text if isinstance(content, schema.TextContentBlock) else ""


def _dump(model: BaseModel) -> Json:
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


def kinds_of(abilities: schema.McpCapabilities) -> set[str]:
    """The kinds of tool servers that the agent takes; every agent starts programs."""
    return {"stdio"} | {kind for kind in ("http", "sse") if getattr(abilities, kind)}


def told_server(server: McpServer) -> Any:  # one of a union that the library does not name
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


def chosen_model(options: list[Any]) -> tuple[str | None, frozenset[str]]:
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


ANSWER_LIMIT_S = 60.0
"""For both answers together; some agents load a lot before the first."""
_INITIALIZE, _SESSION = 1, 2


async def offer_of(
    host: AgentHost, title: str, argv: Sequence[str], env: Mapping[str, str], folder: Path
) -> AgentOffer:
    """What the agent that `argv` starts offers; its empty session works in `folder`.

    Raises ExecutorError("agent_not_answering") where the handshake fails, ("acp_version_unknown")
    for another version of the protocol, or whatever keeps the program from being started.
    """
    handshake = Handshake(title, folder)
    is_over = asyncio.Event()

    def heard(event: AgentEvent) -> None:
        if isinstance(event, AgentResult):
            is_over.set()  # many agents would stay, although their input is closed

    try:
        async with asyncio.timeout(ANSWER_LIMIT_S):
            await drive(
                handshake,
                argv,
                cwd=folder,
                env=host.environment(env),
                marker=host.marker(f"check-{folder.name}"),
                clock=host.clock,
                emit=heard,
                stop=is_over,
            )
    except TimeoutError:
        handshake.give_up(f"{int(ANSWER_LIMIT_S)} s")
    if handshake.problem is not None:
        raise handshake.problem
    return handshake.offer


class Handshake(_JsonRpc):
    """A dialogue that ends as soon as it is known what the agent offers."""

    def __init__(self, title: str, folder: Path) -> None:
        super().__init__(title)
        self.offer = AgentOffer()
        self.problem: ExecutorError | None = None
        self._folder = folder
        self._has_shaken = False
        self._introduce_us()

    def interrupt(self) -> bytes:
        return b""

    def _heard(self, message: Json) -> Iterator[AgentEvent]:
        if "method" in message:
            return
        read = {_INITIALIZE: self._shaken, _SESSION: self._opened}.get(message.get("id", 0))
        if read is None:
            return
        try:
            is_over = read(message)
        except ValidationError as error:
            is_over = self.give_up(error.title)
        if is_over:
            yield AgentResult()

    def without_result(self, exit_code: int, stderr: str) -> AgentResult:
        self.give_up(stderr.strip() or str(exit_code))
        return AgentResult()

    def give_up(self, reason: str) -> bool:
        """What was answered before still counts: only the handshake itself must have worked."""
        if not self._has_shaken:
            self.problem = ExecutorError(
                "agent_not_answering", agent=self._title, reason=reason[-500:]
            )
        return True

    def _shaken(self, message: dict[str, object]) -> bool:
        if "error" in message:
            return self.give_up(_error_words(message["error"]))
        answer = schema.InitializeResponse.model_validate(message.get("result"))
        if answer.protocol_version != PROTOCOL_VERSION:
            self.problem = ExecutorError(
                "acp_version_unknown", agent=self._title, version=answer.protocol_version
            )
            return True
        self._has_shaken = True
        abilities = answer.agent_capabilities or schema.AgentCapabilities()
        prompts, sessions = abilities.prompt_capabilities, abilities.session_capabilities
        can_resume = sessions is not None and sessions.resume is not None
        self.offer = AgentOffer(
            version=answer.agent_info.version if answer.agent_info else None,
            resumes=can_resume or bool(abilities.load_session),
            takes_images=prompts is not None and bool(prompts.image),
            logins=tuple(method.name for method in answer.auth_methods or ()),
        )
        session = schema.NewSessionRequest(cwd=str(self._folder), mcp_servers=[])
        self._ask("session/new", session)
        return False

    def _opened(self, message: dict[str, object]) -> bool:
        error = message.get("error")
        changes: dict[str, object]
        if error is not None:
            asks = isinstance(error, dict) and error.get("code") == AUTH_REQUIRED
            changes = {"needs_login": True} if asks else {"refusal": _error_words(error)}
        else:
            answer = schema.NewSessionResponse.model_validate(message.get("result"))
            modes = answer.modes.available_modes if answer.modes else []
            changes = {"needs_login": False, "modes": tuple(mode.id for mode in modes)}
        self.offer = msgspec.structs.replace(self.offer, **changes)
        return True


def _error_words(error: object) -> str:
    """What an answer that is an error says."""
    told = error if isinstance(error, dict) else {}
    data = told.get("data")
    details = data.get("details") or data.get("message") if isinstance(data, dict) else data
    parts = [str(part) for part in (told.get("message"), details) if part]
    return ": ".join(parts)[:500] or "?"
