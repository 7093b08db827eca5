"""The real OpenCode against a scripted model: what it does is there, and no process stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from executor_core.agents.opencode import OpenCode
from executor_core.agents.opencode_dialogue import MAX_EMPTY_ANSWERS
from executor_core.model import (
    FileChanged,
    Image,
    ModelConfig,
    Notice,
    Permission,
    ReasoningDelta,
    TextDelta,
    ToolFinished,
)
from tests.process.children import until
from tests.support import mcp_server
from tests.support.agent_stage import Run, agent_host, assignment, running
from tests.support.chat_api import ChatApi, Script, chat_api
from tests.support.model_api import (
    Failure,
    Garbage,
    Hang,
    Reply,
    Text,
    Thinking,
    Turn,
    model_api,
    say,
    use,
)
from tests.support.openai_api import openai_api
from tests.support.openai_api import say as openai_say
from tests.support.record_opencode import FOLDER, KEY, cases, record, task
from tests.support.scripted_api import Gate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

END_S = 8.0
NOBODY = "http://127.0.0.1:9/v1"
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)


@asynccontextmanager
async def trap() -> AsyncIterator[tuple[str, list[bytes]]]:
    """A proxy that only notes who was asked for: its address and the first lines it got."""
    asked: list[bytes] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.close()

    server = await asyncio.start_server(note, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"http://{host}:{port}", asked
    finally:
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def working(
    folder: Path, program: Path, script: Script, url: str = "", **fields: Any
) -> AsyncIterator[tuple[Run, ChatApi]]:
    """A run whose task brings its own access; no host but the scripted model may be asked for."""
    async with chat_api(script) as api, trap() as (proxy, asked):
        host = agent_host(folder, program, HTTP_PROXY=proxy, HTTPS_PROXY=proxy)
        async with running(OpenCode(host), host, task(folder, url or api.url, **fields)) as run:
            yield run, api
        assert run.processes() == []
        assert asked == []


async def failure(run: Run, limit_s: float = 60) -> tuple[str, str]:
    error = (await run.result(limit_s)).error
    assert error is not None
    return error.code, error.detail


async def test_it_answers_word_by_word_and_changes_a_file(
    tmp_path: Path, opencode_cli: Path
) -> None:
    gate = Gate()
    look = use("read", filePath="a.txt").blocks
    script: list[Turn] = [
        Reply((Thinking("Hm."), Text("one ", gate, "two"), *look)),
        use("edit", filePath="a.txt", oldString="hi", newString="bye"),
        say("Done."),
    ]
    file = tmp_path / "ws" / "a.txt"
    assignment(tmp_path)
    file.write_text("hi\n")
    async with working(tmp_path, opencode_cli, script) as (run, api):
        await run.until(lambda: run.text == "one ")
        gate.open()
        assert (await run.result()).error is None
        assert [event.text for event in run.of(ReasoningDelta)] == ["Hm."]
        assert run.text == "one two\n\nDone."
        assert file.read_text() == "bye\n"
        assert run.of(FileChanged) == [FileChanged(path=str(file), change="edited")]
        assert {(request.model, request.key) for request in api.requests} == {("m1", KEY)}
    kept = [file for file in (tmp_path / "private").rglob("*") if file.is_file()]
    assert not [file for file in kept if KEY.encode() in file.read_bytes()]


async def test_a_follow_up_knows_what_was_said(tmp_path: Path, opencode_cli: Path) -> None:
    async with working(tmp_path, opencode_cli, [say("One.")]) as (first, _):
        await first.result()
    session = first.session_id
    more = {"prompt": "And now?", "session_id": session}
    async with working(tmp_path, opencode_cli, [say("Two.")], **more) as (second, api):
        await second.result()
        assert second.text == "Two."
        assert second.session_id == session
        assert api.requests[0].prompts == ("Hello", "And now?")


async def test_system_prompt_image_and_slash_reach_the_model(
    tmp_path: Path, opencode_cli: Path
) -> None:
    fields = {"system_prompt": "Speak like a pirate.", "prompt": "/init now"}
    images = (Image(media_type="image/png", data=PIXEL),)
    async with working(tmp_path, opencode_cli, [say("Arr.")], images=images, **fields) as (
        run,
        api,
    ):
        assert (await run.result()).error is None
        (request,) = api.requests
        assert "Speak like a pirate." in request.system
        assert request.prompts[0].lstrip("\u200b").startswith("/init now")
        assert request.images == (f"data:image/png;base64,{PIXEL}",)


async def test_access_to_claude_works_as_well(tmp_path: Path, opencode_cli: Path) -> None:
    async with model_api(lambda _: say("Hello from Claude.")) as api:
        model = ModelConfig(model="claude-x", api_key=KEY, base_url=api.url)
        async with working(tmp_path, opencode_cli, [], model=model) as (run, _):
            assert (await run.result()).error is None
            assert run.text == "Hello from Claude."
            assert {request.key for request in api.requests} == {KEY}


async def test_access_to_the_responses_api_works_and_nothing_is_fetched_for_it(
    tmp_path: Path, opencode_cli: Path
) -> None:
    async with openai_api(lambda _: openai_say("Hello from Responses.")) as api:
        model = ModelConfig(
            model="gpt-5.5", api_key=KEY, base_url=api.url, protocol="openai-responses"
        )
        async with working(tmp_path, opencode_cli, [], model=model) as (run, _):
            assert (await run.result()).error is None
            assert run.text == "Hello from Responses."
            assert {request.key for request in api.requests} == {KEY}


@pytest.mark.parametrize(
    ("script", "code", "words"),
    [
        (lambda _: Failure(401, "Incorrect API key provided"), "model_key_refused", "Incorrect"),
        (lambda _: Failure(400, "This is no request"), "agent_failed", "This is no request"),
        (lambda _: Garbage("data: {nonsense\n\n"), "agent_failed", "JSON parsing failed"),
        (lambda _: Garbage(), "model_says_nothing", str(MAX_EMPTY_ANSWERS)),
    ],
)
async def test_a_failing_model_service_is_told_in_words(
    tmp_path: Path, opencode_cli: Path, script: Script, code: str, words: str
) -> None:
    async with working(tmp_path, opencode_cli, script) as (run, _):
        found, detail = await failure(run)
        assert found == code
        assert words in detail


async def test_of_two_tool_servers_of_like_names_one_works_and_the_dead_one_is_told(
    tmp_path: Path, opencode_cli: Path
) -> None:
    [works] = mcp_server.config().values()
    servers = {"天气": {"command": "/no/such/program"}, "地图": works}
    script = [use("server_2_ping"), say("Done.")]
    async with working(tmp_path, opencode_cli, script, mcp_servers=servers) as (run, _):
        assert (await run.result()).error is None
        [notice] = run.of(Notice)
        assert (notice.code, "天气" in notice.text) == ("mcp_dead", True)
        assert [event.is_error for event in run.of(ToolFinished)] == [False]


async def test_a_turn_without_a_word_is_no_answer(tmp_path: Path, opencode_cli: Path) -> None:
    async with working(tmp_path, opencode_cli, [Reply((Thinking("Hm."),))]) as (run, _):
        error = (await run.result()).error
    assert error is not None
    assert error.code == "agent_said_nothing"


@pytest.mark.timeout(300)
async def test_a_service_that_goes_on_failing_is_asked_a_few_times_and_then_told(
    tmp_path: Path, opencode_cli: Path
) -> None:
    """OpenCode itself would ask for ever, with longer and longer pauses."""
    async with working(tmp_path, opencode_cli, lambda _: Failure(500, "On fire")) as (run, api):
        code, detail = await failure(run, limit_s=200)
        assert code == "model_failing"
        assert "On fire" in detail
        assert len(run.of(Notice)) == len(api.requests) - 1


async def test_a_service_that_cannot_be_reached_is_told_within_seconds(
    tmp_path: Path, opencode_cli: Path
) -> None:
    async with working(tmp_path, opencode_cli, [], url=NOBODY) as (run, _):
        await run.until(lambda: bool(run.of(Notice)))
        async with asyncio.timeout(20):
            code, detail = await failure(run)
        assert code == "model_unreachable"
        assert "Unable to connect" in detail


@pytest.mark.parametrize("status", [429, 500])
async def test_a_retry_is_seen_and_then_the_answer_comes(
    tmp_path: Path, opencode_cli: Path, status: int
) -> None:
    script: list[Turn] = [Failure(status, "Not now", 1), say("Now.")]
    async with working(tmp_path, opencode_cli, script) as (run, _):
        assert (await run.result()).error is None
        assert run.text == "Now."
        (notice,) = run.of(Notice)
        assert "Not now" in notice.text


async def test_attended_work_stays_in_the_folder(tmp_path: Path, opencode_cli: Path) -> None:
    outside = tmp_path / "outside.txt"
    script = [
        use("write", filePath=str(outside), content="x"),
        use("bash", command=f"touch {outside}", description="touch"),
        use("write", filePath="inside.txt", content="x"),
        say("Done."),
    ]
    assignment(tmp_path)
    (tmp_path / "ws" / "opencode.json").write_text('{"permission": {"bash": "allow"}}')
    permission = Permission.WORKSPACE_WRITE
    async with working(tmp_path, opencode_cli, script, permission=permission) as (run, api):
        assert (await run.result()).error is None
        assert [event.is_error for event in run.of(ToolFinished)] == [True, True, False]
        assert not outside.exists()
        assert (tmp_path / "ws" / "inside.txt").exists()
        assert not {"bash", "webfetch", "task"} & api.requests[0].tools


async def test_read_only_work_looks_and_changes_nothing(tmp_path: Path, opencode_cli: Path) -> None:
    script = [
        use("write", filePath="written.txt", content="x"),
        use("bash", command="touch touched.txt", description="touch"),
        use("read", filePath="read.txt"),
        say("Done."),
    ]
    (tmp_path / "ws").mkdir()
    (tmp_path / "ws" / "read.txt").write_text("words")
    (tmp_path / "ws" / "opencode.json").write_text('{"permission": {"edit": "allow"}}')
    permission = Permission.READ_ONLY
    async with working(tmp_path, opencode_cli, script, permission=permission) as (run, _):
        assert (await run.result()).error is None
        ends = [event.is_error for event in run.of(ToolFinished)]
    assert ends == [True, True, False]
    assert [path.name for path in (tmp_path / "ws").glob("*.txt")] == ["read.txt"]


async def test_unattended_work_may_leave_the_folder_without_a_question(
    tmp_path: Path, opencode_cli: Path
) -> None:
    outside = tmp_path / "elsewhere" / "outside.txt"
    script = [use("write", filePath=str(outside), content="x"), say("Done.")]
    async with working(tmp_path, opencode_cli, script) as (run, _):
        assert (await run.result()).error is None
        assert outside.read_text() == "x"


async def test_a_cancel_in_the_middle_of_the_text_ends_it(
    tmp_path: Path, opencode_cli: Path
) -> None:
    async with working(tmp_path, opencode_cli, [say("one ", Gate(), "two")]) as (run, api):
        await run.until(lambda: bool(run.of(TextDelta)))
        assert await run.cancel() < END_S
        assert run.text == "one "
        async with asyncio.timeout(10):
            await api.requests[0].aborted.wait()


async def test_a_cancel_before_the_first_word_ends_it(tmp_path: Path, opencode_cli: Path) -> None:
    async with working(tmp_path, opencode_cli, [Hang()]) as (run, api):
        await api.wait_for_requests(1)
        assert await run.cancel() < END_S


@pytest.mark.parametrize(
    "command",
    ["touch started; sleep 300; true", "nohup setsid sleep 300 & touch started; sleep 300; true"],
)
async def test_a_cancel_during_a_shell_command_leaves_no_process(
    tmp_path: Path, opencode_cli: Path, command: str
) -> None:
    script = [use("bash", command=command, description="sleep")]
    async with working(tmp_path, opencode_cli, script) as (run, _):
        started = tmp_path / "ws" / "started"
        await until(started.exists, limit_s=40)
        await until(lambda: "sleep" in run.processes())
        assert await run.cancel() < END_S
        assert run.processes() == []


async def test_without_any_model_of_the_users_nothing_is_sent(
    tmp_path: Path, opencode_cli: Path
) -> None:
    async with trap() as (proxy, asked):
        host = agent_host(tmp_path, opencode_cli, HTTP_PROXY=proxy, HTTPS_PROXY=proxy)
        async with running(OpenCode(host), host, assignment(tmp_path)) as run:
            assert (await failure(run))[0] == "opencode_not_signed_in"
        found = await OpenCode(host).availability()
        assert found.problem is not None
        assert found.problem.code == "opencode_not_signed_in"
        assert not [line for line in asked if b"opencode.ai" in line]


async def test_a_key_of_the_users_makes_it_usable(tmp_path: Path, opencode_cli: Path) -> None:
    host = agent_host(tmp_path, opencode_cli, ANTHROPIC_API_KEY="sk-mine")
    found = await OpenCode(host).availability()
    assert (found.is_usable, found.version) == (True, "1.18.33")


async def test_a_model_that_the_user_has_not_is_refused_before_anything_is_sent(
    tmp_path: Path, opencode_cli: Path
) -> None:
    async with trap() as (proxy, asked):
        host = agent_host(
            tmp_path, opencode_cli, ANTHROPIC_API_KEY="k", HTTP_PROXY=proxy, HTTPS_PROXY=proxy
        )
        wanted = assignment(tmp_path, model=ModelConfig(model="anthropic/no-such-model"))
        async with running(OpenCode(host), host, wanted) as run:
            assert await failure(run) == (
                "agent_model_missing",
                "anthropic/no-such-model is not among the models that it can use here.",
            )
        assert not [line for line in asked if b"anthropic.com" in line or b"opencode.ai" in line]


@pytest.mark.parametrize("name", sorted(cases().keys() - {"empty_body"}))
async def test_opencode_still_speaks_as_recorded(
    tmp_path: Path, opencode_cli: Path, name: str
) -> None:
    # Messages only: when the log speaks between them is a matter of timing.
    def messages(recording: str) -> list[str]:
        return [line for line in recording.splitlines() if line.startswith("{")]

    said = await record(cases()[name], tmp_path)
    recorded = (FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    assert messages(said) == messages(recorded)
