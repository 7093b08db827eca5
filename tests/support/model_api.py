"""A scripted Anthropic Messages API on loopback: what a real agent CLI talks to in tests.

Scripts are those of `scripted_api`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from aiohttp import web

from tests.support.scripted_api import Asked, Gate, ScriptedApi, hang_up, open_stream, running

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}


# --- what an answer is made of -----------------------------------------------------------------


@dataclass(frozen=True)
class Text:
    """Text of the answer, one delta per part; a gate between parts holds the answer back."""

    parts: tuple[str | Gate, ...]

    def __init__(self, *parts: str | Gate) -> None:
        object.__setattr__(self, "parts", parts)


@dataclass(frozen=True)
class Thinking:
    """What the model thinks before it answers, as one delta."""

    text: str


@dataclass(frozen=True)
class ToolUse:
    """The model wants a tool of the agent, such as Bash or Write. The id is made up if empty."""

    name: str
    input: Mapping[str, Any]
    call_id: str = ""


Block: TypeAlias = Text | Thinking | ToolUse


@dataclass(frozen=True)
class Reply:
    """A whole answer. The stop reason is `tool_use` if it has a tool call, else `end_turn`."""

    blocks: tuple[Block, ...]
    stop_reason: str | None = None
    input_tokens: int = 100
    output_tokens: int = 20

    @property
    def stop(self) -> str:
        uses_tool = any(isinstance(block, ToolUse) for block in self.blocks)
        return self.stop_reason or ("tool_use" if uses_tool else "end_turn")


@dataclass(frozen=True)
class Failure:
    """An HTTP error in the API's own shape. `retry_after` is in seconds."""

    status: int
    message: str = "scripted failure"
    retry_after: int | None = None


@dataclass(frozen=True)
class Garbage:
    """Status 200 and a body that is no answer; the default is an empty one."""

    body: str = ""


@dataclass(frozen=True)
class Cut:
    """The beginning of an answer, and then the connection is gone."""

    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True)
class Hang:
    """No answer at all until the client gives up."""


Turn: TypeAlias = Reply | Failure | Garbage | Cut | Hang


def say(*parts: str | Gate) -> Reply:
    """An answer of text only, one delta per part."""
    return Reply((Text(*parts),))


def use(name: str, /, **tool_input: Any) -> Reply:
    """An answer that is one tool call."""
    return Reply((ToolUse(name, tool_input),))


# --- what was asked ----------------------------------------------------------------------------


@dataclass(frozen=True)
class ModelRequest(Asked):
    """One POST to /v1/messages."""

    @property
    def key(self) -> str:
        """The credential, whichever header carried it."""
        return self.headers.get("x-api-key") or super().key

    @cached_property
    def system(self) -> str:
        return "\n".join(_texts(self.body.get("system", "")))

    @property
    def messages(self) -> Sequence[Mapping[str, Any]]:
        messages: Sequence[Mapping[str, Any]] = self.body.get("messages", [])
        return messages

    @cached_property
    def tools(self) -> frozenset[str]:
        """The names of the tools that the model is offered."""
        return frozenset(str(tool.get("name")) for tool in self.body.get("tools", []))

    @cached_property
    def prompts(self) -> tuple[str, ...]:
        """What the person said so far, oldest first, without the agent's own reminders."""
        said = (
            text
            for message in self.messages
            if message.get("role") == "user"
            for text in _texts(message.get("content", ""))
        )
        return tuple(text for text in said if not text.lstrip().startswith("<system-reminder>"))

    @cached_property
    def tool_results(self) -> tuple[str, ...]:
        """What the tools of this conversation gave back, oldest first."""
        return tuple(
            "\n".join(_texts(block.get("content", "")))
            for message in self.messages
            if not isinstance(message.get("content"), str)
            for block in message.get("content", [])
            if block.get("type") == "tool_result"
        )


def _texts(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    return [str(block["text"]) for block in content or () if block.get("type") == "text"]


Script: TypeAlias = Sequence[Turn] | Callable[[ModelRequest], Turn]


# --- the server --------------------------------------------------------------------------------


class ModelApi(ScriptedApi[ModelRequest, Turn]):
    """The Messages API."""

    def routes(self) -> Sequence[web.RouteDef]:
        return (
            web.post("/v1/messages", self.receive),
            web.post("/v1/messages/count_tokens", _count_tokens),
            web.get("/v1/models", _models),
            web.get("/", _alive),
        )

    def read(self, headers: Mapping[str, str], body: Mapping[str, Any]) -> ModelRequest:
        return ModelRequest(headers, body)

    def refusal(self, words: str) -> Turn:
        return Failure(400, words)

    async def answer(
        self, http: web.Request, request: ModelRequest, turn: Turn
    ) -> web.StreamResponse:
        match turn:
            case Failure():
                return _failure(turn)
            case Garbage(body=body):
                return web.Response(text=body, content_type="text/event-stream")
            case Hang():
                await asyncio.Event().wait()
                raise AssertionError("nobody sets this event")
            case Cut(blocks=blocks):
                response = await open_stream(http)
                await _write_blocks(response, request, len(self.requests), Reply(blocks))
                hang_up(http)
                return response
            case Reply() if request.body.get("stream"):
                response = await open_stream(http)
                await _write_blocks(response, request, len(self.requests), turn)
                await _write_end(response, turn)
                return response
            case Reply():
                return web.json_response(await _whole(request, len(self.requests), turn))


def model_api(script: Script) -> AbstractAsyncContextManager[ModelApi]:
    """Run the API for the length of the block; see `running`."""
    return running(ModelApi(script))


async def _alive(_: web.Request) -> web.Response:
    return web.Response(text="ok")


async def _models(_: web.Request) -> web.Response:
    return web.json_response({"data": [], "has_more": False, "first_id": None, "last_id": None})


async def _count_tokens(_: web.Request) -> web.Response:
    return web.json_response({"input_tokens": 100})


def _failure(turn: Failure) -> web.Response:
    error = {"type": ERROR_TYPES.get(turn.status, "api_error"), "message": turn.message}
    headers = {} if turn.retry_after is None else {"retry-after": str(turn.retry_after)}
    body = {"type": "error", "error": error, "request_id": "req_scripted"}
    return web.json_response(body, status=turn.status, headers=headers)


# --- the wire ----------------------------------------------------------------------------------


def _message(request: ModelRequest, number: int, reply: Reply) -> dict[str, Any]:
    return {
        "id": f"msg_{number:04}",
        "type": "message",
        "role": "assistant",
        "model": request.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": reply.input_tokens, "output_tokens": 1},
    }


async def _write(response: web.StreamResponse, kind: str, **fields: Any) -> None:
    data = json.dumps({"type": kind, **fields}, ensure_ascii=False)
    await response.write(f"event: {kind}\ndata: {data}\n\n".encode())


async def _write_blocks(
    response: web.StreamResponse, request: ModelRequest, number: int, reply: Reply
) -> None:
    await _write(response, "message_start", message=_message(request, number, reply))
    for index, block in enumerate(reply.blocks):
        start, deltas = _block(block, f"toolu_{number:04}_{index}")
        await _write(response, "content_block_start", index=index, content_block=start)
        for delta in deltas:
            if isinstance(delta, Gate):
                await delta.pass_through()
            else:
                await _write(response, "content_block_delta", index=index, delta=delta)
        await _write(response, "content_block_stop", index=index)


async def _write_end(response: web.StreamResponse, reply: Reply) -> None:
    delta = {"stop_reason": reply.stop, "stop_sequence": None}
    usage = {"output_tokens": reply.output_tokens}
    await _write(response, "message_delta", delta=delta, usage=usage)
    await _write(response, "message_stop")


def _block(block: Block, call_id: str) -> tuple[dict[str, Any], list[dict[str, Any] | Gate]]:
    """The block as it starts, and the deltas that fill it."""
    match block:
        case Text(parts=parts):
            deltas: list[dict[str, Any] | Gate] = [
                part if isinstance(part, Gate) else {"type": "text_delta", "text": part}
                for part in parts
            ]
            return {"type": "text", "text": ""}, deltas
        case Thinking(text=text):
            return {"type": "thinking", "thinking": "", "signature": ""}, [
                {"type": "thinking_delta", "thinking": text},
                {"type": "signature_delta", "signature": "c2NyaXB0ZWQ="},
            ]
        case ToolUse(name=name, input=tool_input):
            whole = json.dumps(tool_input, ensure_ascii=False)
            middle = len(whole) // 2  # in two pieces, as the real API cuts it anywhere
            start = {"type": "tool_use", "id": block.call_id or call_id, "name": name, "input": {}}
            return start, [
                {"type": "input_json_delta", "partial_json": piece}
                for piece in (whole[:middle], whole[middle:])
            ]


async def _whole(request: ModelRequest, number: int, reply: Reply) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    for index, block in enumerate(reply.blocks):
        match block:
            case Text(parts=parts):
                for part in parts:
                    if isinstance(part, Gate):
                        await part.pass_through()
                text = "".join(part for part in parts if isinstance(part, str))
                content.append({"type": "text", "text": text})
            case Thinking(text=text):
                content.append({"type": "thinking", "thinking": text, "signature": "c2NyaXB0ZWQ="})
            case ToolUse(name=name, input=tool_input):
                call_id = block.call_id or f"toolu_{number:04}_{index}"
                call = {"type": "tool_use", "id": call_id, "name": name, "input": dict(tool_input)}
                content.append(call)
    usage = {"input_tokens": reply.input_tokens, "output_tokens": reply.output_tokens}
    message = _message(request, number, reply)
    return message | {"content": content, "stop_reason": reply.stop, "usage": usage}
