"""The real `codex exec` against a scripted model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from executor_core.agents.codex import CodexExec
from executor_core.model import AgentResult, ModelConfig, Notice, RawEvent, ToolStarted
from tests.support.agent_stage import Run, agent_host, running
from tests.support.mcp_server import config
from tests.support.model_api import Hang
from tests.support.openai_api import openai_api, say, shell
from tests.support.record_codex import LOST_SESSION, assignment
from tests.support.record_codex_exec import FOLDER, exec_cases, record

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

END_S = 8.0


def shape(recording: str) -> list[str]:
    """What each line is, without what it says."""
    return [line.partition(",")[0] for line in recording.splitlines()]


@pytest.mark.usefixtures("codex_cli")
@pytest.mark.parametrize("name", sorted(exec_cases()))
async def test_codex_exec_still_speaks_as_recorded(name: str, tmp_path: Path) -> None:
    recorded = (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8")
    assert shape(await record(exec_cases()[name], tmp_path)) == shape(recorded)


async def test_a_file_is_written_and_a_follow_up_knows_the_talk(
    codex_cli: Path, tmp_path: Path
) -> None:
    host = agent_host(tmp_path, codex_cli)
    async with openai_api([shell("echo hi > made.txt"), say("Done."), say("Again.")]) as api:
        async with running(CodexExec(host), host, assignment(tmp_path, api.url, "-One?")) as run:
            assert (await run.result()).error is None
        assert (tmp_path / "ws" / "made.txt").read_text() == "hi\n"
        later = assignment(
            tmp_path, api.url, "/two", session_id=run.session_id, mcp_servers=config()
        )
        async with running(CodexExec(host), host, later) as again:
            assert (await again.result()).error is None
        assert again.text == "Again."
        assert again.session_id == run.session_id
        assert api.requests[-1].prompts == ("-One?", "/two")
    assert [notice.code for notice in again.of(Notice)] == ["mcp_left_out"]
    assert [event.raw["type"] for event in run.of(RawEvent) if event.raw][:2] == [
        "thread.started",
        "turn.started",
    ]
    assert run.processes() == []


@pytest.mark.parametrize("session", [LOST_SESSION, "--last"])
async def test_a_session_that_is_gone_is_said_so(
    session: str, codex_cli: Path, tmp_path: Path
) -> None:
    host = agent_host(tmp_path, codex_cli)
    task = assignment(tmp_path, "http://127.0.0.1:9/v1", session_id=session)
    async with running(CodexExec(host), host, task) as run:
        error = (await run.result()).error
    assert error is not None
    assert error.code == "session_not_found"


async def test_a_key_of_the_users_own_environment_is_used(codex_cli: Path, tmp_path: Path) -> None:
    async with openai_api([say("Hello.")]) as api:
        keys = {"OPENAI_API_KEY": "sk-own-key", "OPENAI_BASE_URL": api.url}
        host = agent_host(tmp_path, codex_cli, **keys)
        task = assignment(tmp_path, "", private_home=None, model=ModelConfig(model="gpt-5.5"))
        async with running(CodexExec(host), host, task) as run:
            assert (await run.result()).error is None
    assert api.requests[0].key == "sk-own-key"


async def test_a_service_that_refuses_connections_ends_in_words(
    codex_cli: Path, tmp_path: Path
) -> None:
    host = agent_host(tmp_path, codex_cli)
    task = assignment(tmp_path, "http://127.0.0.1:9/v1")
    async with running(CodexExec(host), host, task) as run:
        error = (await run.result()).error
    assert error is not None
    assert error.code == "model_unreachable"


@pytest.mark.parametrize(
    ("script", "is_ready"),
    [
        ([Hang()], lambda run, api: len(api.requests) == 1),
        ([shell("sleep 300; true")], lambda run, api: bool(run.of(ToolStarted))),
        (
            [shell("(setsid nohup sleep 300 >/dev/null 2>&1 &); sleep 300; true")],
            lambda run, api: bool(run.of(ToolStarted)),
        ),
    ],
    ids=["before the first word", "in a command", "with a detached child"],
)
async def test_a_cancelled_run_leaves_no_process(
    script: Any, is_ready: Callable[[Run, Any], bool], codex_cli: Path, tmp_path: Path
) -> None:
    host = agent_host(tmp_path, codex_cli)
    async with (
        openai_api(script) as api,
        running(CodexExec(host), host, assignment(tmp_path, api.url)) as run,
    ):
        await api.wait_for_requests(1)
        await run.until(lambda: is_ready(run, api))
        assert await run.cancel() < END_S
        assert run.processes() == []


async def test_effort_reaches_the_model(codex_cli: Path, tmp_path: Path) -> None:
    host = agent_host(tmp_path, codex_cli)
    async with openai_api([say("Hello.")]) as api:
        extra = ("--config", "model_reasoning_effort=high")
        task = assignment(tmp_path, api.url, extra_args=extra)
        async with running(CodexExec(host), host, task) as run:
            result = await run.result()
    assert isinstance(result, AgentResult)
    assert result.error is None
    assert api.requests[0].body["reasoning"]["effort"] == "high"
