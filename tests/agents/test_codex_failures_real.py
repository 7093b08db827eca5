"""What becomes of a turn of the real Codex, in both versions, when its model service fails it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from executor_core.agents.codex import Codex
from executor_core.model import ModelConfig, Notice, ToolFinished
from tests.support import mcp_server
from tests.support.agent_stage import Run, agent_host, running
from tests.support.openai_api import (
    Cut,
    Failure,
    McpUse,
    OpenAiApi,
    Reply,
    Script,
    Stall,
    StreamFailure,
    openai_api,
    say,
)
from tests.support.record_codex import assignment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

RESETS_AT = 4_102_444_800


@asynccontextmanager
async def codex_with(
    program: Path, folder: Path, script: Script, **more: Any
) -> AsyncIterator[tuple[Run, OpenAiApi]]:
    host = agent_host(folder, program)
    async with openai_api(script) as api:
        task = assignment(folder, api.url, **more)
        async with running(Codex(host), host, task) as run:
            yield run, api


async def test_an_abandoned_half_stands_neither_in_the_answer_nor_in_the_conversation(
    each_codex_cli: Path, tmp_path: Path
) -> None:
    script: Script = [Cut(half="Half of "), say("Whole.")]
    async with codex_with(each_codex_cli, tmp_path, script) as (run, _):
        result = await run.result()
    assert run.text.startswith("Half of ")
    assert result.answer(run.text) == "Whole."
    assert [notice.code for notice in run.of(Notice)] == ["model_retry", "text_abandoned"]
    more = {"prompt": "And?", "session_id": run.session_id}
    async with codex_with(each_codex_cli, tmp_path, [say("More.")], **more) as (run, api):
        assert (await run.result()).answer(run.text) == "More."
    assert "Half of" not in json.dumps(api.requests[0].body)


async def test_a_stream_that_stands_still_is_asked_for_again(
    each_codex_cli: Path, tmp_path: Path
) -> None:
    """Codex has a watchdog of its own, of five minutes; the user's configuration shortens it."""
    async with openai_api([Stall("Half of "), say("Whole.")]) as api:
        provider: dict[str, Any] = {
            "name": "mine",
            "base_url": api.url,
            "env_key": "MISTRAL_API_KEY",
        }
        provider |= {"stream_idle_timeout_ms": 500, "stream_max_retries": 1}
        lines = [f"{name} = {json.dumps(value)}" for name, value in provider.items()]
        (tmp_path / ".codex").mkdir()
        config = ['model_provider = "mine"', "[model_providers.mine]", *lines]
        config += ["[features]", "plugins = false", "apps = false"]
        (tmp_path / ".codex" / "config.toml").write_text("\n".join(config))
        host = agent_host(tmp_path, each_codex_cli, MISTRAL_API_KEY="sk-mine")
        task = assignment(tmp_path, "", private_home=None, model=ModelConfig(model="gpt-5.5"))
        async with running(Codex(host), host, task) as run:
            assert (await run.result()).answer(run.text) == "Whole."
    retry, abandoned = run.of(Notice)
    assert (retry.code, abandoned.code) == ("model_retry", "text_abandoned")
    assert "idle" in retry.text


async def test_each_kind_of_failure_is_known_by_its_structure(
    each_codex_cli: Path, tmp_path: Path
) -> None:
    kinds: dict[str, Script] = {
        "model_usage_limit": [Failure(429, resets_at=RESETS_AT)],
        "model_policy": [StreamFailure("cyber_policy")],
        "model_context_full": [StreamFailure("context_length_exceeded")],
        "model_overloaded": [StreamFailure("server_is_overloaded")],
        "model_key_refused": lambda _: Failure(401),
        "model_credit_used_up": lambda _: Failure(402),
        "session_unusable": [Failure(400, "messages.3: could not process image")],
        "model_refused": [Failure(400)],
    }
    for code, script in kinds.items():
        async with codex_with(each_codex_cli, tmp_path, script) as (run, _):
            error = (await run.result()).error
        assert error is not None
        assert error.code == code
        when = datetime.fromtimestamp(RESETS_AT, UTC) if code == "model_usage_limit" else None
        assert error.retry_at == when


async def test_a_turn_without_a_word_is_no_answer(each_codex_cli: Path, tmp_path: Path) -> None:
    async with codex_with(each_codex_cli, tmp_path, [Reply(())]) as (run, _):
        error = (await run.result()).error
    assert error is not None
    assert error.code == "agent_said_nothing"


async def test_of_two_tool_servers_of_like_names_one_works_and_the_dead_one_is_told(
    each_codex_cli: Path, tmp_path: Path
) -> None:
    [works] = mcp_server.config().values()
    servers = {"天气": {"command": "/no/such/program"}, "地图": works}
    script = [Reply((McpUse("server_2", "ping", {}),)), say("Done.")]
    more = {"mcp_servers": servers}
    async with codex_with(each_codex_cli, tmp_path, script, **more) as (run, _):
        assert (await run.result()).error is None
    [notice] = run.of(Notice)
    assert (notice.code, "天气" in notice.text) == ("mcp_dead", True)
    assert [event.is_error for event in run.of(ToolFinished)] == [False]
