"""A scripted OpenAI Responses API on loopback: what the real Codex talks to in tests.

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

from tests.support.model_api import Garbage, Hang, Text, Thinking, ToolUse
from tests.support.scripted_api import Asked, Gate, ScriptedApi, hang_up, open_stream, running

ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
# What the agent itself puts in the person's mouth before the first prompt.
_REMINDERS = ("<", "# AGENTS.md")


@dataclass(frozen=True)
class Patch:
    """The model edits files with Codex's `apply_patch`, in that tool's own format."""

    text: str


@dataclass(frozen=True)
class McpUse:
    """The model wants a tool of an MCP server."""

    server: str
    tool: str
    input: Mapping[str, Any]


Block: TypeAlias = Text | Thinking | ToolUse | Patch | McpUse


@dataclass(frozen=True)
class Reply:
    """A whole answer. With `incomplete` it ends early, for that reason."""

    blocks: tuple[Block, ...]
    incomplete: str = ""
    input_tokens: int = 100
    cached_tokens: int = 0
    output_tokens: int = 20


@dataclass(frozen=True)
class Failure:
    """An HTTP error in the API's own shape. `retry_after` is in seconds.

    `resets_at` (seconds since 1970) makes it a limit of the account that is used up until then.
    """

    status: int
    message: str = "scripted failure"
    code: str | None = None
    retry_after: int | None = None
    resets_at: int | None = None


@dataclass(frozen=True)
class StreamFailure:
    """Status 200 and a stream whose only event says that the answer failed."""

    code: str
    message: str = "scripted failure"


@dataclass(frozen=True)
class Cut:
    """The beginning of an answer, and then the connection is gone.

    `half` are words of a message behind the blocks that is never finished.
    """

    blocks: tuple[Block, ...] = ()
    half: str = ""


@dataclass(frozen=True)
class Stall:
    """The beginning of an answer, and then nothing more; the connection stays."""

    half: str


Turn: TypeAlias = Reply | Failure | StreamFailure | Garbage | Cut | Stall | Hang


def say(*parts: str | Gate) -> Reply:
    """An answer of text only, one delta per part."""
    return Reply((Text(*parts),))


def shell(command: str, **more: Any) -> Reply:
    """An answer that is one call of Codex's shell tool."""
    return Reply((ToolUse("exec_command", {"cmd": command, **more}),))


def patch(*lines: str) -> Reply:
    """An answer that is one patch; `lines` stand between its begin and end marks."""
    return Reply((Patch("\n".join(("*** Begin Patch", *lines, "*** End Patch", ""))),))


# --- what was asked ----------------------------------------------------------------------------


@dataclass(frozen=True)
class ResponsesRequest(Asked):
    """One POST to /v1/responses."""

    @property
    def items(self) -> Sequence[Mapping[str, Any]]:
        items: Sequence[Mapping[str, Any]] = self.body.get("input", [])
        return items

    @cached_property
    def tools(self) -> frozenset[str]:
        """The names of the tools that the model is offered."""
        return frozenset(str(tool.get("name")) for tool in self.body.get("tools", []))

    @cached_property
    def developer(self) -> str:
        """What the agent and whoever started it tell the model besides the conversation."""
        return "\n".join(self._said_by("developer"))

    @cached_property
    def prompts(self) -> tuple[str, ...]:
        """What the person said so far, oldest first, without the agent's own reminders."""
        return tuple(t for t in self._said_by("user") if not t.lstrip().startswith(_REMINDERS))

    @cached_property
    def images(self) -> tuple[str, ...]:
        """The addresses of the pictures in the conversation, oldest first."""
        return tuple(
            str(part["image_url"])
            for item in self.items
            if isinstance(item.get("content"), list)
            for part in item["content"]
            if part.get("type") == "input_image"
        )

    @cached_property
    def tool_results(self) -> tuple[str, ...]:
        """What the tools of this conversation gave back, oldest first."""
        kinds = ("function_call_output", "custom_tool_call_output")
        return tuple(
            "\n".join(_texts(item.get("output", "")))
            for item in self.items
            if item.get("type") in kinds
        )

    def _said_by(self, role: str) -> list[str]:
        return [
            text
            for item in self.items
            if item.get("type", "message") == "message" and item.get("role") == role
            for text in _texts(item.get("content", ""))
        ]


def _texts(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    return [str(part["text"]) for part in content or () if "text" in part]


Script: TypeAlias = Sequence[Turn] | Callable[[ResponsesRequest], Turn]


# --- the server --------------------------------------------------------------------------------


class OpenAiApi(ScriptedApi[ResponsesRequest, Turn]):
    """The Responses API."""

    base_path = "/v1"

    def routes(self) -> Sequence[web.RouteDef]:
        return (web.post("/v1/responses", self.receive),)

    def read(self, headers: Mapping[str, str], body: Mapping[str, Any]) -> ResponsesRequest:
        return ResponsesRequest(headers, body)

    def refusal(self, words: str) -> Turn:
        return Failure(400, words)

    async def answer(
        self, http: web.Request, _request: ResponsesRequest, turn: Turn
    ) -> web.StreamResponse:
        number = len(self.requests)
        match turn:
            case Failure():
                return _failure(turn)
            case Garbage(body=body):
                return web.Response(text=body, content_type="text/event-stream")
            case Hang():
                await asyncio.Event().wait()
                raise AssertionError("nobody sets this event")
        response = await open_stream(http)
        match turn:
            case StreamFailure(code=code, message=message):
                error = {"code": code, "message": message}
                failed = {"id": f"resp_{number:04}", "status": "failed", "error": error}
                await _write(response, "response.failed", response=failed)
            case Cut(blocks=blocks, half=half):
                await _write_blocks(response, number, blocks)
                if half:
                    await _write_half(response, number, half)
                hang_up(http)
            case Stall(half=half):
                await _write(response, "response.created", response={"id": f"resp_{number:04}"})
                await _write_half(response, number, half)
                await asyncio.Event().wait()
            case Reply():
                await _write_blocks(response, number, turn.blocks)
                await _write_end(response, number, turn)
        return response


def openai_api(script: Script) -> AbstractAsyncContextManager[OpenAiApi]:
    """Run the API for the length of the block; see `running`."""
    return running(OpenAiApi(script))


def _failure(turn: Failure) -> web.Response:
    kind = ERROR_TYPES.get(turn.status, "server_error")
    if 400 <= turn.status < 500 and turn.status not in ERROR_TYPES:
        kind = "invalid_request_error"
    error: dict[str, Any] = {"message": turn.message, "type": kind, "param": None}
    error["code"] = turn.code
    headers = {} if turn.retry_after is None else {"retry-after": str(turn.retry_after)}
    if turn.resets_at is not None:
        error |= {"type": "usage_limit_reached", "plan_type": "plus", "resets_at": turn.resets_at}
        limit = {"used-percent": 100, "window-minutes": 300, "reset-at": turn.resets_at}
        headers |= {f"x-codex-primary-{name}": str(value) for name, value in limit.items()}
    return web.json_response({"error": error}, status=turn.status, headers=headers)


# --- the wire ----------------------------------------------------------------------------------


async def _write(stream: web.StreamResponse, kind: str, /, **fields: Any) -> None:
    data = json.dumps({"type": kind, **fields}, ensure_ascii=False)
    await stream.write(f"event: {kind}\ndata: {data}\n\n".encode())


async def _write_blocks(
    response: web.StreamResponse, number: int, blocks: tuple[Block, ...]
) -> None:
    await _write(response, "response.created", response={"id": f"resp_{number:04}"})
    for index, block in enumerate(blocks):
        item_id = f"item_{number:04}_{index}"
        empty, whole = _item(block, item_id)
        await _write(response, "response.output_item.added", output_index=index, item=empty)
        place = {"item_id": item_id, "output_index": index}
        match block:
            case Text(parts=parts):
                for part in parts:
                    if isinstance(part, Gate):
                        await part.pass_through()
                    else:
                        kind = "response.output_text.delta"
                        await _write(response, kind, **place, content_index=0, delta=part)
            case Thinking(text=text):
                kind = "response.reasoning_summary_text.delta"
                await _write(response, kind, **place, summary_index=0, delta=text)
        await _write(response, "response.output_item.done", output_index=index, item=whole)


async def _write_half(response: web.StreamResponse, number: int, words: str) -> None:
    """The beginning of a message."""
    place = {"item_id": f"half_{number:04}", "output_index": 0}
    empty = {"type": "message", "id": place["item_id"], "role": "assistant", "content": []}
    await _write(response, "response.output_item.added", output_index=0, item=empty)
    await _write(response, "response.output_text.delta", **place, content_index=0, delta=words)


async def _write_end(response: web.StreamResponse, number: int, reply: Reply) -> None:
    usage = {
        "input_tokens": reply.input_tokens,
        "input_tokens_details": {"cached_tokens": reply.cached_tokens},
        "output_tokens": reply.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": reply.input_tokens + reply.output_tokens,
    }
    body: dict[str, Any] = {"id": f"resp_{number:04}", "usage": usage}
    if reply.incomplete:
        body["incomplete_details"] = {"reason": reply.incomplete}
        await _write(response, "response.incomplete", response=body)
    else:
        await _write(response, "response.completed", response=body)


def _item(block: Block, item_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The output item as it starts, and as it is in the end."""
    match block:
        case Text(parts=parts):
            said = "".join(part for part in parts if isinstance(part, str))
            item = {"type": "message", "id": item_id, "role": "assistant"}
            content = [{"type": "output_text", "text": said, "annotations": []}]
            return item | {"content": []}, item | {"content": content}
        case Thinking(text=text):
            item = {"type": "reasoning", "id": item_id}
            summary = [{"type": "summary_text", "text": text}]
            return item | {"summary": []}, item | {"summary": summary}
        case ToolUse(name=name, input=tool_input):
            call_id = block.call_id or f"call_{item_id}"
            item = {"type": "function_call", "id": item_id, "call_id": call_id, "name": name}
            arguments = json.dumps(dict(tool_input), ensure_ascii=False)
            return item | {"arguments": ""}, item | {"arguments": arguments}
        case McpUse(server=server, tool=tool, input=tool_input):
            item = {"type": "function_call", "id": item_id, "call_id": f"call_{item_id}"}
            item |= {"namespace": f"mcp__{server}", "name": tool}
            return item | {"arguments": ""}, item | {"arguments": json.dumps(dict(tool_input))}
        case Patch(text=text):
            item = {"type": "custom_tool_call", "id": item_id, "call_id": f"call_{item_id}"}
            item |= {"name": "apply_patch"}
            return item | {"input": ""}, item | {"input": text}
