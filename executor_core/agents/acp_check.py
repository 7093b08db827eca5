"""Asks an agent of the Agent Client Protocol what it offers, without asking any model.

The handshake and an empty session, version 1 of the protocol; needs the protocol's own library.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
from acp import schema
from pydantic import BaseModel, ValidationError

from executor_core import __version__
from executor_core.agents.acp_dialogue import PROTOCOL_VERSION
from executor_core.agents.drive import drive
from executor_core.agents.host import AgentHost
from executor_core.errors import ExecutorError
from executor_core.model import AgentEvent, AgentOffer, AgentResult
from executor_core.unicode import decode_json

ANSWER_LIMIT_S = 60.0
"""For both answers together; some agents load a lot before the first."""
_AUTH_REQUIRED = -32000
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


class Handshake:
    """A dialogue that ends as soon as it is known what the agent offers."""

    def __init__(self, title: str, folder: Path) -> None:
        self.offer = AgentOffer()
        self.problem: ExecutorError | None = None
        self._title = title
        self._folder = folder
        self._out = b""
        self._has_shaken = False
        capabilities = schema.ClientCapabilities()
        client = schema.Implementation(name="wegent-executor", version=__version__)
        self._ask(
            _INITIALIZE,
            "initialize",
            schema.InitializeRequest(
                protocol_version=PROTOCOL_VERSION,
                client_capabilities=capabilities,
                client_info=client,
            ),
        )

    def outgoing(self) -> bytes:
        out, self._out = self._out, b""
        return out

    def interrupt(self) -> bytes:
        return b""

    def feed(self, line: bytes) -> Iterator[AgentEvent]:
        try:
            message = decode_json(line)
        except ValueError:  # a greeting between the messages
            return
        if not isinstance(message, dict) or "method" in message:
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
            return self.give_up(_words(message["error"]))
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
        self._ask(_SESSION, "session/new", session)
        return False

    def _opened(self, message: dict[str, object]) -> bool:
        error = message.get("error")
        changes: dict[str, object]
        if error is not None:
            asks = isinstance(error, dict) and error.get("code") == _AUTH_REQUIRED
            changes = {"needs_login": True} if asks else {"refusal": _words(error)}
        else:
            answer = schema.NewSessionResponse.model_validate(message.get("result"))
            modes = answer.modes.available_modes if answer.modes else []
            changes = {"needs_login": False, "modes": tuple(mode.id for mode in modes)}
        self.offer = msgspec.structs.replace(self.offer, **changes)
        return True

    def _ask(self, number: int, method: str, params: BaseModel) -> None:
        shape = params.model_dump(mode="json", by_alias=True, exclude_none=True)
        message = {"jsonrpc": "2.0", "id": number, "method": method, "params": shape}
        self._out += msgspec.json.encode(message) + b"\n"


def _words(error: object) -> str:
    """What an answer that is an error says."""
    told = error if isinstance(error, dict) else {}
    data = told.get("data")
    details = data.get("details") or data.get("message") if isinstance(data, dict) else data
    parts = [str(part) for part in (told.get("message"), details) if part]
    return ": ".join(parts)[:500] or "?"
