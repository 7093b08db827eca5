"""The real Claude Code behind a real executor, against a model whose every word is scripted."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from executor_core.hub import Dialect
from tests.support.executor_process import ExecutorProcess, until
from tests.support.hub_server import HubServer
from tests.support.model_api import Failure, ModelApi, ModelRequest, model_api, say, use
from tests.support.model_api import Turn as Answer
from tests.support.scripted_api import Gate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

KEY = "sk-key-of-the-task"
HOLD_S = 30
"""A limit for what takes one second on a quiet machine."""


@pytest.fixture
def real(
    make_executor: Callable[[Path], ExecutorProcess], claude_cli: Path, hub: HubServer
) -> ExecutorProcess:
    """An executor with the real CLI, started and connected by the test."""
    executor = make_executor(claude_cli.parent)
    if (node := shutil.which("node")) is not None:
        executor.env["PATH"] += f":{Path(node).parent}"
    executor.connect_to(hub.url, hub.hub.device_token())
    return executor


def model_of(api: ModelApi) -> dict[str, Any]:
    """What a task says about its model."""
    return {"model": "claude", "model_id": "claude-test", "api_key": KEY, "base_url": api.url}


async def started(executor: ExecutorProcess) -> None:
    executor.start()
    await executor.online()


@pytest.mark.parametrize("dialect", ["responses", "progress"])
async def test_text_reaches_the_chat_while_the_model_still_writes(
    dialect: Dialect, hub: HubServer, real: ExecutorProcess
) -> None:
    gate = Gate()
    async with model_api([say("Hello, ", "world. ", gate, "你好.")]) as api:
        await started(real)
        sent = await hub.dispatch("Greet me", model_config=model_of(api))
        await hub.until_text(sent, "Hello, world. ", HOLD_S)
        answer = await hub.answer(sent)
        assert (answer["status"], answer["text"]) == ("RUNNING", "Hello, world. ")
        gate.open()
        answer = await hub.until_status(sent, "COMPLETED", HOLD_S)
        assert answer["text"] == "Hello, world. 你好."
        [request] = api.requests
        assert (request.model, request.key) == ("claude-test", KEY)
        assert request.prompts[-1] == "Greet me"
    assert len(hub.terminals_of(sent)) == 1
    await real.until_alone()


async def test_a_tool_writes_a_file_and_the_next_message_resumes_the_conversation(
    hub: HubServer, real: ExecutorProcess
) -> None:
    await started(real)
    folder = real.home / "workspace"
    file = folder / "1" / "made.txt"
    answers = [
        use("Write", file_path=str(file), content="made by the agent\n"),
        say("I wrote it."),
        say("As I said, I wrote it."),
    ]
    async with model_api(answers) as api:
        sent = await hub.dispatch("Write made.txt", model_config=model_of(api))
        assert sent.task_id == 1
        answer = await hub.until_status(sent, "COMPLETED", HOLD_S)
        assert file.read_text() == "made by the agent\n"
        [tool] = answer["tools"]
        assert (tool["name"], tool["status"]) == ("Write", "done")

        again = await hub.follow_up(sent, "What did you do?", model_config=model_of(api))
        answer = await hub.until_status(again, "COMPLETED", HOLD_S)
        assert answer["text"] == "As I said, I wrote it."
        assert api.requests[-1].prompts[-2:] == ("Write made.txt", "What did you do?")


async def test_cancel_in_mid_stream_keeps_what_was_said_and_leaves_no_process(
    hub: HubServer, real: ExecutorProcess
) -> None:
    async with model_api([say("Once upon a time ", Gate(), "never said")]) as api:
        await started(real)
        sent = await hub.dispatch("Tell a story", model_config=model_of(api))
        await hub.until_text(sent, "Once upon a time ", HOLD_S)
        await hub.cancel(sent)
        assert (await hub.until_ended(sent)).status == "CANCELLED"
        await real.until_alone()
    answer = await hub.until_status(sent, "CANCELLED")
    assert answer["text"] == "Once upon a time "
    [run] = await real.runs()
    assert run.outcome is not None
    assert run.outcome.text == "Once upon a time "
    assert len(hub.terminals_of(sent)) == 1


async def test_cancel_during_a_compound_shell_command_leaves_no_process(
    hub: HubServer, real: ExecutorProcess
) -> None:
    command = "sleep 3141; true"

    def is_running() -> bool | None:
        return any("3141" in argv for argv in real.commands()) or None

    async with model_api([use("Bash", command=command)]) as api:
        await started(real)
        sent = await hub.dispatch("Wait", model_config=model_of(api))
        await until(is_running, HOLD_S, "the tool never ran")
        await hub.cancel(sent)
        assert (await hub.until_ended(sent)).status == "CANCELLED"
        await real.until_alone()
    assert len(hub.terminals_of(sent)) == 1


@pytest.mark.parametrize("dialect", ["responses", "progress"])
@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (Failure(400, "the test does not like this"), "model_refused"),
        (Failure(401, "invalid x-api-key"), "model_key_refused"),
    ],
)
async def test_a_model_error_reaches_the_chat_in_words(
    dialect: Dialect, failure: Failure, code: str, hub: HubServer, real: ExecutorProcess
) -> None:
    async with model_api(lambda _: failure) as api:
        await started(real)
        sent = await hub.dispatch("Hi", model_config=model_of(api))
        answer = await hub.until_status(sent, "FAILED", HOLD_S)
    [run] = await real.runs()
    assert run.outcome is not None
    assert run.outcome.error is not None
    assert run.outcome.error.code == code
    assert run.outcome.error.title in answer["error"]
    assert failure.message in answer["error"] or failure.status == 401
    assert KEY not in answer["error"]


async def test_five_run_side_by_side_and_the_sixth_follows(
    hub: HubServer, real: ExecutorProcess
) -> None:
    gates = {f"Number {n}": Gate() for n in range(6)}

    def script(request: ModelRequest) -> Answer:
        prompt = request.prompts[-1]
        return say(f"{prompt}. ", gates[prompt], "Done.")

    async with model_api(script) as api:
        await started(real)
        turns = [await hub.dispatch(prompt, model_config=model_of(api)) for prompt in gates]
        async with asyncio.timeout(60):
            for gate in list(gates.values())[:5]:
                await gate.reached.wait()
        status = await real.status()
        assert status is not None
        assert (status.slots.used, status.queued) == (5, 1)
        assert len(api.requests) == 5
        for gate in gates.values():
            gate.open()
        for prompt, sent in zip(gates, turns, strict=True):
            answer = await hub.until_status(sent, "COMPLETED", HOLD_S)
            assert answer["text"] == f"{prompt}. Done."
    await real.until_delivered()
    assert len(hub.terminals) == 6
    await real.until_alone()


async def test_kill_9_in_mid_stream_ends_the_agent_at_the_next_start(
    hub: HubServer, real: ExecutorProcess
) -> None:
    async with model_api([say("Half ", Gate(), "whole")]) as api:
        await started(real)
        sent = await hub.dispatch("Hi", model_config=model_of(api))
        await hub.until_text(sent, "Half ", HOLD_S)
        await real.kill()
        await started(real)
        await real.until_alone()
    answer = await hub.until_status(sent, "FAILED")
    assert answer["text"] == "Half "
    assert len(hub.terminals_of(sent)) == 1
