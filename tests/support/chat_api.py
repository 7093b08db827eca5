"""A scripted OpenAI Chat Completions API on loopback: what a real OpenCode talks to in tests.

The script and its parts are those of `model_api`; only the wire is another one. A request that
offers no tools is the agent's own side work (it wants a title for the conversation) and does not
use up the script.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, TypeAlias

from aiohttp import web

from tests.support.model_api import (
    Block,
    Cut,
    Failure,
    Garbage,
    Hang,
    Reply,
    Text,
    Thinking,
    ToolUse,
    Turn,
    say,
)
from tests.support.scripted_api import Asked, Gate, ScriptedApi, hang_up, open_stream, running

TITLE = "A scripted title"


@dataclass(frozen=True)
class ChatRequest(Asked):
    """One POST to /v1/chat/completions."""

    @property
    def tools(self) -> frozenset[str]:
        """The names of the tools that the model is offered."""
        return frozenset(str(tool["function"]["name"]) for tool in self.body.get("tools") or ())

    @property
    def system(self) -> str:
        return "\n".join(self._said_by("system"))

    @property
    def prompts(self) -> tuple[str, ...]:
        """What the person said so far, oldest first."""
        return self._said_by("user")

    @property
    def tool_results(self) -> tuple[str, ...]:
        """What the tools of this conversation gave back, oldest first."""
        return self._said_by("tool")

    @property
    def images(self) -> tuple[str, ...]:
        """The addresses of all pictures in the conversation."""
        return tuple(
            str(part["image_url"]["url"])
            for message in self.body["messages"]
            if isinstance(message.get("content"), list)
            for part in message["content"]
            if part.get("type") == "image_url"
        )

    def _said_by(self, role: str) -> tuple[str, ...]:
        return tuple(
            _text(message.get("content"))
            for message in self.body["messages"]
            if message["role"] == role
        )


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(str(part["text"]) for part in content or () if part.get("type") == "text")


Script: TypeAlias = Sequence[Turn] | Callable[[ChatRequest], Turn]


class ChatApi(ScriptedApi[ChatRequest, Turn]):
    """The Chat Completions API."""

    base_path = "/v1"

    def routes(self) -> Sequence[web.RouteDef]:
        return (web.post("/v1/chat/completions", self.receive),)

    def read(self, headers: Mapping[str, str], body: Mapping[str, Any]) -> ChatRequest:
        return ChatRequest(headers, body)

    def refusal(self, words: str) -> Turn:
        return Failure(400, words)

    def side_work(self, request: ChatRequest) -> Turn | None:
        return None if request.tools else say(TITLE)

    async def answer(
        self, http: web.Request, request: ChatRequest, turn: Turn
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
                await _write_blocks(response, request, Reply(blocks))
                hang_up(http)
                return response
            case Reply():
                response = await open_stream(http)
                await _write_blocks(response, request, turn)
                await _write_end(response, request, turn)
                return response


def chat_api(script: Script) -> AbstractAsyncContextManager[ChatApi]:
    """Run the API for the length of the block; see `running`."""
    return running(ChatApi(script))


def _failure(turn: Failure) -> web.Response:
    headers = {} if turn.retry_after is None else {"retry-after": str(turn.retry_after)}
    body = {"error": {"message": turn.message, "type": "scripted_error", "code": None}}
    return web.json_response(body, status=turn.status, headers=headers)


# --- the wire ----------------------------------------------------------------------------------


async def _write(response: web.StreamResponse, request: ChatRequest, **fields: Any) -> None:
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 0}
    data = json.dumps(chunk | {"model": request.model} | fields, ensure_ascii=False)
    await response.write(f"data: {data}\n\n".encode())


def _choice(delta: dict[str, Any], finish: str | None = None) -> list[dict[str, Any]]:
    return [{"index": 0, "delta": delta, "finish_reason": finish}]


async def _write_blocks(response: web.StreamResponse, request: ChatRequest, reply: Reply) -> None:
    await _write(response, request, choices=_choice({"role": "assistant", "content": ""}))
    calls = 0
    for block in reply.blocks:
        for delta in _deltas(block, calls, f"call_{len(request.body['messages']):04}_{calls}"):
            if isinstance(delta, Gate):
                await delta.pass_through()
            else:
                await _write(response, request, choices=_choice(delta))
        calls += isinstance(block, ToolUse)


async def _write_end(response: web.StreamResponse, request: ChatRequest, reply: Reply) -> None:
    uses_tool = any(isinstance(block, ToolUse) for block in reply.blocks)
    finish = reply.stop_reason or ("tool_calls" if uses_tool else "stop")
    await _write(response, request, choices=_choice({}, finish))
    usage = {"prompt_tokens": reply.input_tokens, "completion_tokens": reply.output_tokens}
    usage["total_tokens"] = reply.input_tokens + reply.output_tokens
    await _write(response, request, choices=[], usage=usage)
    await response.write(b"data: [DONE]\n\n")


def _deltas(block: Block, index: int, call_id: str) -> list[dict[str, Any] | Gate]:
    match block:
        case Text(parts=parts):
            return [part if isinstance(part, Gate) else {"content": part} for part in parts]
        case Thinking(text=text):
            return [{"reasoning_content": text}]
        case ToolUse(name=name, input=tool_input):
            whole = json.dumps(tool_input, ensure_ascii=False)
            middle = len(whole) // 2  # in two pieces, as the real API cuts it anywhere
            first: dict[str, Any] = {"index": index, "id": block.call_id or call_id}
            first |= {"type": "function", "function": {"name": name, "arguments": whole[:middle]}}
            second = {"index": index, "function": {"arguments": whole[middle:]}}
            return [{"tool_calls": [first]}, {"tool_calls": [second]}]
