"""The scripted Responses API speaks as the real one; that Codex takes it is tested with Codex."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from executor_core.jobs import Jobs
from tests.support.model_api import Hang, Text, Thinking, ToolUse
from tests.support.openai_api import (
    Cut,
    Failure,
    McpUse,
    OpenAiApi,
    Reply,
    StreamFailure,
    openai_api,
    patch,
    say,
)
from tests.support.scripted_api import Gate

QUESTION: dict[str, Any] = {
    "model": "m",
    "tools": [{"type": "function", "name": "exec_command"}],
    "input": [
        {"role": "developer", "content": [{"type": "input_text", "text": "Be brief."}]},
        {"role": "user", "content": [{"type": "input_text", "text": "<environment_context/>"}]},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Hello"},
                {"type": "input_image", "image_url": "data:x"},
            ],
        },
        {"type": "function_call_output", "call_id": "c", "output": "hi"},
        {"type": "custom_tool_call_output", "call_id": "d", "output": [{"text": "there"}]},
    ],
}


async def ask(api: OpenAiApi) -> tuple[int, str]:
    headers = {"Authorization": "Bearer k"}
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{api.url}/responses", json=QUESTION, headers=headers) as answer,
    ):
        return answer.status, await answer.text()


def events(body: str) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: ")]


async def test_an_answer_has_the_blocks_of_the_script_in_order() -> None:
    blocks = (Thinking("hm"), Text("one", " two"), ToolUse("exec_command", {"cmd": "ls"}))
    async with openai_api([Reply((*blocks, McpUse("s", "ping", {})))]) as api:
        _, body = await ask(api)
    sent = events(body)
    assert [event["delta"] for event in sent if "delta" in event] == ["hm", "one", " two"]
    whole = [e["item"] for e in sent if e["type"] == "response.output_item.done"]
    kinds = [item["type"] for item in whole]
    assert kinds == ["reasoning", "message", "function_call", "function_call"]
    assert whole[1]["content"][0]["text"] == "one two"
    assert json.loads(whole[2]["arguments"]) == {"cmd": "ls"}
    assert (whole[3]["namespace"], whole[3]["name"]) == ("mcp__s", "ping")
    assert sent[-1]["type"] == "response.completed"
    assert sent[-1]["response"]["usage"]["total_tokens"] == 120


async def test_a_patch_is_a_free_form_tool_call() -> None:
    async with openai_api([patch("*** Add File: a", "+b")]) as api:
        _, body = await ask(api)
    [item] = [e["item"] for e in events(body) if e["type"] == "response.output_item.done"]
    assert (item["type"], item["name"]) == ("custom_tool_call", "apply_patch")
    assert item["input"] == "*** Begin Patch\n*** Add File: a\n+b\n*** End Patch\n"


async def test_a_gate_holds_the_answer_until_it_is_opened() -> None:
    gate = Gate()
    jobs = Jobs("test")
    async with openai_api([say("one", gate, "two")]) as api:
        answer = jobs.spawn(ask(api), "ask")
        await gate.reached.wait()
        assert not answer.done()
        gate.open()
        _, body = await answer
    assert '"two"' in body


async def test_a_client_that_leaves_is_noted() -> None:
    jobs = Jobs("test")
    async with openai_api([Hang()]) as api:
        jobs.spawn(ask(api), "ask")
        await api.wait_for_requests(1)
        await jobs.close()
        await api.requests[0].aborted.wait()


async def test_a_failure_has_the_status_and_the_shape() -> None:
    async with openai_api([Failure(429, "slow down", code="c", retry_after=1)]) as api:
        status, body = await ask(api)
    assert status == 429
    error = {"message": "slow down", "type": "rate_limit_error", "param": None, "code": "c"}
    assert json.loads(body) == {"error": error}


async def test_answers_that_end_badly_say_so_in_the_stream() -> None:
    async with openai_api(
        [StreamFailure("code", "why"), Reply((Text("half"),), incomplete="limit")]
    ) as api:
        failed = events((await ask(api))[1])
        incomplete = events((await ask(api))[1])
    assert [event["type"] for event in failed] == ["response.failed"]
    assert failed[0]["response"]["error"] == {"code": "code", "message": "why"}
    assert incomplete[-1]["response"]["incomplete_details"] == {"reason": "limit"}


async def test_a_cut_answer_is_a_broken_transfer() -> None:
    async with openai_api([Cut((Text("half"),))]) as api:
        with pytest.raises(aiohttp.ClientPayloadError):
            await ask(api)


async def test_a_request_knows_its_parts() -> None:
    async with openai_api(lambda request: say(request.model)) as api:
        _, body = await ask(api)
    assert '"delta": "m"' in body
    [request] = api.requests
    assert request.key == "k"
    assert request.developer == "Be brief."
    assert request.tools == {"exec_command"}
    assert request.prompts == ("Hello",)
    assert request.images == ("data:x",)
    assert request.tool_results == ("hi", "there")


async def test_a_request_beyond_the_script_is_refused_and_fails_the_test() -> None:
    refused: list[int] = []

    async def one_too_many() -> None:
        async with openai_api([]) as api:
            refused.append((await ask(api))[0])

    with pytest.raises(AssertionError, match="not in the script"):
        await one_too_many()
    assert refused == [400]
