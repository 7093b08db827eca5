import json
from typing import Any

import aiohttp
import pytest

from executor_core.jobs import Jobs
from tests.support.model_api import (
    Cut,
    Failure,
    Garbage,
    Hang,
    ModelApi,
    Reply,
    Text,
    Thinking,
    ToolUse,
    model_api,
    say,
)
from tests.support.scripted_api import Gate

QUESTION = {
    "model": "m",
    "system": [{"type": "text", "text": "Be brief."}],
    "tools": [{"name": "Bash"}],
    "messages": [
        {"role": "user", "content": "Hello"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "<system-reminder>noise</system-reminder>"},
                {"type": "text", "text": "And now?"},
                {"type": "tool_result", "tool_use_id": "t", "content": "hi"},
            ],
        },
    ],
}


async def ask(api: ModelApi, **more: Any) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as http,
        http.post(
            f"{api.url}/v1/messages", json=QUESTION | more, headers={"X-Api-Key": "k"}
        ) as answer,
    ):
        return answer.status, await answer.text()


def events(body: str) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: ")]


async def test_a_streamed_reply_has_the_blocks_of_the_script_in_order() -> None:
    reply = Reply((Thinking("hm"), Text("one", " two"), ToolUse("Bash", {"command": "ls"})))
    async with model_api([reply]) as api:
        _, body = await ask(api, stream=True)
    kinds = [event["type"] for event in events(body)]
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]
    deltas = [event["delta"] for event in events(body) if event["type"] == "content_block_delta"]
    assert [delta["text"] for delta in deltas if "text" in delta] == ["one", " two"]
    pieces = [delta["partial_json"] for delta in deltas if "partial_json" in delta]
    assert json.loads("".join(pieces)) == {"command": "ls"}
    assert events(body)[-2]["delta"]["stop_reason"] == "tool_use"


async def test_a_reply_without_streaming_is_one_message() -> None:
    async with model_api([say("one", " two")]) as api:
        _, body = await ask(api)
    message = json.loads(body)
    assert message["content"] == [{"type": "text", "text": "one two"}]
    assert message["stop_reason"] == "end_turn"


async def test_a_gate_holds_the_answer_until_it_is_opened() -> None:
    gate = Gate()
    jobs = Jobs("test")
    async with model_api([say("one", gate, "two")]) as api:
        answer = jobs.spawn(ask(api, stream=True), "ask")
        await gate.reached.wait()
        assert not answer.done()
        gate.open()
        _, body = await answer
    assert '"two"' in body


async def test_a_client_that_leaves_is_noted() -> None:
    jobs = Jobs("test")
    async with model_api([Hang()]) as api:
        jobs.spawn(ask(api), "ask")
        await api.wait_for_requests(1)
        await jobs.close()
        await api.requests[0].aborted.wait()


async def test_a_failure_has_the_status_the_shape_and_retry_after() -> None:
    async with model_api([Failure(429, "slow down", retry_after=1)]) as api:
        status, body = await ask(api)
    assert status == 429
    assert json.loads(body)["error"] == {"type": "rate_limit_error", "message": "slow down"}


async def test_an_empty_body_is_status_200_and_nothing() -> None:
    async with model_api([Garbage()]) as api:
        assert await ask(api, stream=True) == (200, "")


async def test_a_cut_answer_is_a_broken_transfer() -> None:
    async with model_api([Cut((Text("half"),))]) as api:
        with pytest.raises(aiohttp.ClientPayloadError):
            await ask(api, stream=True)


async def test_a_function_as_script_sees_each_request() -> None:
    async with model_api(lambda request: say(request.model)) as api:
        _, body = await ask(api, model="other")
    assert json.loads(body)["content"][0]["text"] == "other"


async def test_a_request_knows_its_parts() -> None:
    async with model_api([say("ok")]) as api:
        await ask(api)
    [request] = api.requests
    assert request.key == "k"
    assert request.system == "Be brief."
    assert request.tools == {"Bash"}
    assert request.prompts == ("Hello", "And now?")
    assert request.tool_results == ("hi",)


async def test_a_request_beyond_the_script_is_refused_and_fails_the_test() -> None:
    refused: list[int] = []

    async def one_too_many() -> None:
        async with model_api([]) as api:
            refused.append((await ask(api))[0])

    with pytest.raises(AssertionError, match="not in the script"):
        await one_too_many()
    assert refused == [400]
