"""The real Codex against a scripted model: what it does is really there, and no process stays."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from executor_core.agents.codex import Codex
from executor_core.agents.host import AgentHost
from executor_core.jobs import Jobs
from executor_core.model import (
    AgentEvent,
    AgentResult,
    FileChanged,
    ModelConfig,
    Permission,
    TextDelta,
    ToolFinished,
    ToolStarted,
)
from executor_core.process import MARKER
from tests.support.model_api import Hang
from tests.support.openai_api import (
    McpUse,
    OpenAiApi,
    Reply,
    Script,
    openai_api,
    patch,
    say,
    shell,
)
from tests.support.record_codex import (
    FOLDER,
    KEY,
    agent_host,
    assignment,
    cases,
    record,
    session_of,
    shape,
)
from tests.support.scripted_api import Gate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

E = TypeVar("E", bound=AgentEvent)
END_S = 8.0
MCP_SERVER = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    result = {
        "initialize": lambda: {
            "protocolVersion": asked["params"]["protocolVersion"],
            "capabilities": {"tools": {}}, "serverInfo": {"name": "stub", "version": "1"}},
        "tools/list": lambda: {"tools": [{"name": "ping", "inputSchema": {"type": "object"}}]},
        "tools/call": lambda: {"content": [{"type": "text", "text": "pong"}]},
    }.get(asked["method"], dict)()
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
"""


class Run:
    """One run of the real Codex, from its start on."""

    def __init__(self, host: AgentHost, task: Any) -> None:
        self.events: list[AgentEvent] = []
        self.stop = asyncio.Event()
        self._marker = host.marker(task.run_id)
        self._news = asyncio.Event()
        self._jobs = Jobs("test run")
        self._job = self._jobs.spawn(Codex(host).run(task, self._emit, self.stop), "run")

    def _emit(self, event: AgentEvent) -> None:
        self.events.append(event)
        self._news.set()

    async def result(self) -> AgentResult:
        return await self._job

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for the event with which `holds` becomes true."""
        async with asyncio.timeout(30):
            while not holds():
                self._news.clear()
                await self._news.wait()

    async def cancel(self) -> float:
        """Stop it; how many seconds it took."""
        clock = asyncio.get_running_loop()
        started = clock.time()
        self.stop.set()
        await self.result()
        return clock.time() - started

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.of(TextDelta))

    def processes(self) -> list[str]:
        """The living processes that carry the run's marker."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARKER) == self._marker:
                    found.append(process.name())
            except psutil.Error:
                continue
        return found


@asynccontextmanager
async def running(
    folder: Path, program: Path, script: Script, **more: Any
) -> AsyncIterator[tuple[Run, OpenAiApi]]:
    """A run whose task brings its access to the scripted model."""
    async with openai_api(script) as api:
        yield Run(agent_host(folder, program), assignment(folder, api.url, **more)), api


@pytest.mark.usefixtures("codex_cli")
@pytest.mark.parametrize("name", sorted(cases()))
async def test_codex_still_speaks_as_recorded(name: str, tmp_path: Path) -> None:
    recorded = (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8")
    assert shape(await record(cases()[name], tmp_path)) == shape(recorded)


async def test_text_arrives_while_the_model_still_writes(codex_cli: Path, tmp_path: Path) -> None:
    gate = Gate()
    async with running(tmp_path, codex_cli, [say("one ", "two ", gate, "three")]) as (run, _):
        await run.until(lambda: run.text == "one two ")
        assert gate.reached.is_set()
        gate.open()
        assert (await run.result()).final_text == "one two three"
    assert [event.text for event in run.of(TextDelta)] == ["one ", "two ", "three"]
    assert run.processes() == []


async def test_a_command_really_writes_its_file(codex_cli: Path, tmp_path: Path) -> None:
    script = [shell("echo hi > made.txt; cat made.txt"), say("Done.")]
    async with running(tmp_path, codex_cli, script) as (run, api):
        assert (await run.result()).error is None
    assert (tmp_path / "ws" / "made.txt").read_text() == "hi\n"
    assert [event.output for event in run.of(ToolFinished)] == ["hi\n"]
    assert "hi" in api.requests[1].tool_results[0]


async def test_a_patch_really_changes_its_file(codex_cli: Path, tmp_path: Path) -> None:
    script = [patch("*** Add File: new.txt", "+hello"), say("Done.")]
    async with running(tmp_path, codex_cli, script) as (run, _):
        assert (await run.result()).error is None
    file = tmp_path / "ws" / "new.txt"
    assert file.read_text() == "hello\n"
    assert run.of(FileChanged) == [FileChanged(path=str(file), change="written")]


async def test_a_follow_up_resumes_the_conversation(codex_cli: Path, tmp_path: Path) -> None:
    async with running(tmp_path, codex_cli, [say("First.")], prompt="One?") as (run, _):
        await run.result()
    session_id = session_of(run.events)
    more = {"prompt": "Two?", "session_id": session_id}
    async with running(tmp_path, codex_cli, [say("Second.")], **more) as (run, api):
        await run.result()
    assert session_of(run.events) == session_id
    assert api.requests[0].prompts == ("One?", "Two?")
    assert run.text == "Second."


async def test_a_service_that_refuses_connections_ends_in_words(
    codex_cli: Path, tmp_path: Path
) -> None:
    run = Run(agent_host(tmp_path, codex_cli), assignment(tmp_path, "http://127.0.0.1:9/v1"))
    async with asyncio.timeout(60):
        error = (await run.result()).error
    assert error is not None
    assert error.code == "model_unreachable"


@pytest.mark.parametrize(
    ("script", "is_ready"),
    [
        ([Hang()], lambda run, api: len(api.requests) == 1),
        ([say("one ", Gate(), "two")], lambda run, api: run.text == "one "),
    ],
    ids=["before the first word", "while text streams"],
)
async def test_a_cancelled_run_leaves_no_process(
    script: Script,
    is_ready: Callable[[Run, OpenAiApi], bool],
    codex_cli: Path,
    tmp_path: Path,
) -> None:
    async with running(tmp_path, codex_cli, script) as (run, api):
        await api.wait_for_requests(1)
        await run.until(lambda: is_ready(run, api))
        assert run.processes() != []
        assert await run.cancel() < END_S
        assert run.processes() == []


@pytest.mark.skipif(sys.platform == "win32", reason="the commands are those of a POSIX shell")
@pytest.mark.parametrize(
    "command",
    ["sleep 300; true", "sleep 300", "(setsid nohup sleep 300 >/dev/null 2>&1 &); sleep 300; true"],
    ids=["compound", "lone", "detached"],
)
async def test_a_run_cancelled_in_a_command_leaves_no_process(
    command: str, codex_cli: Path, tmp_path: Path
) -> None:
    async with running(tmp_path, codex_cli, [shell(command)]) as (run, _):
        await run.until(lambda: bool(run.of(ToolStarted)))
        assert await run.cancel() < END_S
        assert run.processes() == []


@pytest.mark.skipif(sys.platform == "win32", reason="the command is that of a POSIX shell")
async def test_what_a_command_left_behind_ends_with_a_normal_run(
    codex_cli: Path, tmp_path: Path
) -> None:
    script = [shell("(setsid nohup sleep 300 >/dev/null 2>&1 &); echo started"), say("Done.")]
    async with running(tmp_path, codex_cli, script) as (run, _):
        assert (await run.result()).error is None
        assert run.processes() == []


async def test_no_host_but_the_models_is_contacted(codex_cli: Path, tmp_path: Path) -> None:
    asked: list[bytes] = []

    async def trap(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.close()

    proxy = await asyncio.start_server(trap, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
    host = agent_host(tmp_path, codex_cli, HTTP_PROXY=url, HTTPS_PROXY=url, ALL_PROXY=url)
    async with proxy, openai_api([shell("true"), say("Done.")]) as api:
        run = Run(host, assignment(tmp_path, api.url))
        assert (await run.result()).error is None
    assert asked == []


async def test_the_model_hears_who_it_is_and_the_tools_do_not_see_the_key(
    codex_cli: Path, tmp_path: Path
) -> None:
    async with openai_api([shell("env"), say("Done.")]) as api:
        headers = {"X-Team": "secret-team"}
        model = ModelConfig(model="gpt-5.5", api_key=KEY, base_url=api.url, headers=headers)
        task = assignment(
            tmp_path,
            api.url,
            model=model,
            system_prompt="Say it in verse.",
            permission=Permission.WORKSPACE_WRITE,
        )
        run = Run(agent_host(tmp_path, codex_cli), task)
        assert (await run.result()).error is None
    request, after_tool = api.requests
    assert (request.model, request.key) == ("gpt-5.5", KEY)
    assert request.headers["x-team"] == "secret-team"
    assert "Say it in verse." in request.developer
    turn = json.loads(request.headers["x-codex-turn-metadata"])
    assert turn["sandbox_mode"] == "workspace-write"
    [output] = after_tool.tool_results
    assert "PATH=" in output
    assert KEY not in output
    assert "secret-team" not in output


async def test_codex_is_given_the_read_only_sandbox(codex_cli: Path, tmp_path: Path) -> None:
    async with openai_api([shell("touch touched.txt"), say("Done.")]) as api:
        task = assignment(tmp_path, api.url, permission=Permission.READ_ONLY)
        run = Run(agent_host(tmp_path, codex_cli), task)
        assert (await run.result()).error is None
    turn = json.loads(api.requests[0].headers["x-codex-turn-metadata"])
    assert turn["sandbox_mode"] == "read-only"
    assert not (task.folder / "touched.txt").exists()


async def test_a_key_of_the_users_own_environment_is_used(codex_cli: Path, tmp_path: Path) -> None:
    async with openai_api([say("Hello.")]) as api:
        keys = {"OPENAI_API_KEY": "sk-own", "OPENAI_BASE_URL": api.url}
        host = agent_host(tmp_path, codex_cli, **keys)
        assert (await Codex(host).availability()).login == "OPENAI_API_KEY"
        task = assignment(tmp_path, "", private_home=None, model=ModelConfig(model="gpt-5.5"))
        run = Run(host, task)
        assert (await run.result()).error is None
    assert api.requests[0].key == "sk-own"


async def test_without_any_access_the_run_says_so_at_once(codex_cli: Path, tmp_path: Path) -> None:
    task = assignment(tmp_path, "", private_home=None, model=ModelConfig())
    run = Run(agent_host(tmp_path, codex_cli), task)
    error = (await run.result()).error
    assert error is not None
    assert error.code == "codex_not_signed_in"


async def test_the_users_own_provider_and_mcp_server_are_used(
    codex_cli: Path, tmp_path: Path
) -> None:
    server = tmp_path / "server.py"
    server.write_text(MCP_SERVER)
    script = [Reply((McpUse("stub", "ping", {"x": "1"}),)), say("Done.")]
    async with openai_api(script) as api:
        (tmp_path / ".codex").mkdir()
        (tmp_path / ".codex" / "config.toml").write_text(
            f"""
model_provider = "mine"
[model_providers.mine]
name = "mine"
base_url = "{api.url}"
env_key = "MISTRAL_API_KEY"
[mcp_servers.stub]
command = {json.dumps(sys.executable)}
args = [{json.dumps(str(server))}]
[features]
plugins = false
apps = false
"""
        )
        host = agent_host(tmp_path, codex_cli, MISTRAL_API_KEY="sk-own")
        task = assignment(tmp_path, "", private_home=None, model=ModelConfig(model="gpt-5.5"))
        run = Run(host, task)
        assert (await run.result()).error is None
    assert api.requests[0].key == "sk-own"
    assert [event.name for event in run.of(ToolStarted)] == ["mcp__stub__ping"]
    assert [event.output for event in run.of(ToolFinished)] == ["pong"]
    assert run.processes() == []
