"""OpenCode without OpenCode: recorded lines in, our events out; configuration, environment."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from executor_core.agents.acp_dialogue import AcpDialogue
from executor_core.agents.agent import Assignment
from executor_core.agents.mcp import McpServer, ToolServers
from executor_core.agents.opencode import OpenCode, configuration, disabled_providers, variables
from executor_core.agents.opencode_dialogue import (
    MAX_EMPTY_ANSWERS,
    MAX_UNREACHABLE,
    OpenCodeDialogue,
)
from executor_core.errors import ExecutorError
from executor_core.model import (
    AgentEvent,
    AgentResult,
    FileChanged,
    ModelConfig,
    Notice,
    Permission,
    ReasoningDelta,
    SessionStarted,
    TextDelta,
    ToolFinished,
    ToolStarted,
    Usage,
)
from tests.support.agent_stage import agent_host, assignment
from tests.support.record_opencode import FOLDER, KEY, LOST_SESSION, cases

WS = Path("/home/me/ws")
SESSION = f"ses_{0:026}"
ACCESS = ModelConfig(model="m1", api_key=KEY, base_url="http://127.0.0.1:1/v1")


def dialogue(**fields: Any) -> OpenCodeDialogue:
    task = Assignment(run_id="r", prompt="Hello", folder=WS, scratch=WS, **fields)
    inner = AcpDialogue(task, "OpenCode", takes_system_prompt=False)
    server = McpServer(name="server", title="天气", kind="stdio")
    return OpenCodeDialogue(inner, ToolServers([server], "OpenCode"))


def hear(talk: OpenCodeDialogue, lines: list[bytes]) -> Iterator[AgentEvent]:
    """What the lines of a recording come to, up to the last word, as `drive` takes them."""
    for line in lines:
        for event in (talk.feed if line.startswith(b"{") else talk.feed_stderr)(line):
            yield event
            if isinstance(event, AgentResult):
                return
    yield from talk.waits().then


def replay(name: str, **fields: Any) -> list[AgentEvent]:
    lines = (FOLDER / f"{name}.txt").read_bytes().splitlines()
    return list(hear(dialogue(**fields), lines))


def failure(event: AgentEvent) -> tuple[str, str]:
    assert isinstance(event, AgentResult)
    assert event.error is not None
    return event.error.code, event.error.detail


# --- recordings ----------------------------------------------------------------------------------


def test_text_and_thoughts_are_told_part_by_part() -> None:
    assert replay("text") == [
        SessionStarted(session_id=SESSION, model="task/m1"),
        ReasoningDelta(text="Let me think."),
        TextDelta(text="Hello"),
        TextDelta(text=", "),
        TextDelta(text="world 你好."),
        AgentResult(
            final_text="Hello, world 你好.", usage=Usage(input_tokens=100, output_tokens=20)
        ),
    ]


def test_tools_and_the_files_they_change_are_told() -> None:
    events = replay("tools")
    started = [event for event in events if isinstance(event, ToolStarted)]
    assert [(event.name, event.input) for event in started] == [
        ("write", {"filePath": "a.txt", "content": "hi\n"}),
        ("edit", {"filePath": "a.txt", "oldString": "hi", "newString": "bye"}),
        ("bash", {"command": "echo hi; exit 3", "description": "say hi", "cwd": str(WS)}),
        ("read", {"filePath": "missing.txt"}),
    ]
    finished = [event for event in events if isinstance(event, ToolFinished)]
    assert [event.is_error for event in finished] == [False, False, True, True]
    assert finished[2].output == "hi\n"
    changed = [event for event in events if isinstance(event, FileChanged)]
    assert changed == [FileChanged(path=f"{WS}/a.txt", change="edited")] * 2
    said = "".join(event.text for event in events if isinstance(event, TextDelta))
    assert said == "First.\n\nIt failed."


def test_a_follow_up_keeps_the_session_and_repeats_nothing() -> None:
    events = replay("follow_up", session_id=SESSION)
    assert events[0] == SessionStarted(session_id=SESSION, model="task/m1")
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["Two."]


def test_an_unknown_session_is_lost() -> None:
    code, _ = failure(replay("unknown_session", session_id=LOST_SESSION)[-1])
    assert code == "session_not_found"


def test_a_refused_key_is_told_in_the_services_words_and_not_as_a_retry() -> None:
    _, result = replay("error_401")
    assert failure(result) == (
        "model_key_refused",
        "It answered with an error: Incorrect API key provided",
    )


def test_a_retry_is_a_notice_and_then_the_answer_comes() -> None:
    _, notice, said, result = replay("retry_429_then_text")
    assert isinstance(notice, Notice)
    assert "Slow down" in notice.text
    assert "(2 of 6)" in notice.text
    assert said == TextDelta(text="Now.")
    assert isinstance(result, AgentResult)
    assert result.error is None


def test_empty_answers_without_end_are_ended() -> None:
    code, detail = failure(replay("empty_body")[-1])
    assert code == "model_says_nothing"
    assert str(MAX_EMPTY_ANSWERS) in detail


def test_a_malformed_answer_is_told() -> None:
    code, detail = failure(replay("malformed")[-1])
    assert code == "agent_failed"
    assert detail.startswith("JSON parsing failed")


def test_recordings_hold_nothing_of_the_machine_they_were_made_on() -> None:
    files = sorted(FOLDER.glob("*.txt"))
    assert {file.stem for file in files} == set(cases())
    for file in files:
        assert not re.search(rf"/root|/tmp|/Users/|{KEY}", file.read_text(encoding="utf-8"))


# --- the log -------------------------------------------------------------------------------------


def log(message: str, session: str = SESSION, rest: str = "") -> bytes:
    return f"timestamp=0 level=INFO run=0 message={message} session.id={session}{rest}".encode()


def unreachable(session: str = SESSION, rest: str = "") -> bytes:
    words = "AI_APICallError: Cannot connect to API: Unable to connect. (cause: Error: Unable)"
    return log('"stream error"', session, f'{rest} error.error="{words}"')


@pytest.fixture
def prompted() -> OpenCodeDialogue:
    """A dialogue whose session is open."""
    talk = dialogue()
    list(hear(talk, (FOLDER / "text.txt").read_bytes().splitlines()[:2]))
    return talk


def test_a_service_that_cannot_be_reached_ends_the_run_soon(prompted: OpenCodeDialogue) -> None:
    events = list(hear(prompted, [log("loop"), *[unreachable(), log("stream")] * 9]))
    assert len([event for event in events if isinstance(event, Notice)]) == MAX_UNREACHABLE - 1
    assert failure(events[-1]) == (
        "model_unreachable",
        "Cannot connect to API: Unable to connect.",
    )


def failing(words: str) -> bytes:
    return log('"stream error"', SESSION, f' error.error="AI_APICallError: {words}"')


@pytest.mark.parametrize(("failures", "code"), [(1, "agent_failed"), (5, "model_failing")])
def test_a_service_that_was_asked_again_and_again_is_what_failed(
    prompted: OpenCodeDialogue, failures: int, code: str
) -> None:
    """The answer itself tells no status, and may come before the last line of the log."""
    refusal = {"id": 3, "error": {"code": -32603, "message": "Internal error: On fire"}}
    lines = [log("loop"), *[failing("On fire"), log("stream")] * failures]
    *_, result = hear(prompted, [*lines, json.dumps(refusal).encode()])
    assert isinstance(result, AgentResult)
    assert result.error is not None
    assert (result.error.code, "On fire" in result.error.detail) == (code, True)


def test_failures_that_are_followed_by_an_answer_are_forgotten(prompted: OpenCodeDialogue) -> None:
    step = [log("loop"), *[unreachable(), log("stream")] * (MAX_UNREACHABLE - 1)]
    assert not [event for event in hear(prompted, step * 3) if isinstance(event, AgentResult)]


def test_what_came_of_a_try_that_is_repeated_stands_not_in_the_answer(
    prompted: OpenCodeDialogue,
) -> None:
    def said(words: str, message: str = "m2") -> bytes:
        content = {"type": "text", "text": words}
        update: dict[str, Any] = {"sessionUpdate": "agent_message_chunk", "content": content}
        update["messageId"] = message
        params = {"sessionId": SESSION, "update": update}
        return json.dumps({"method": "session/update", "params": params}).encode()

    end = json.dumps({"id": 3, "result": {"stopReason": "end_turn"}}).encode()
    lines = [log("loop"), log("stream"), said("I look.", "m1"), log("loop"), log("stream")]
    lines += [said("Half of "), log("stream"), said("Whole."), end]
    *events, result = hear(prompted, lines)
    assert [event.code for event in events if isinstance(event, Notice)] == ["text_abandoned"]
    assert isinstance(result, AgentResult)
    assert result.answer("") == "I look.\n\nWhole."


def test_steps_that_say_something_are_not_counted_as_empty(prompted: OpenCodeDialogue) -> None:
    update = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "."}}
    params = {"sessionId": SESSION, "update": update}
    said = json.dumps({"method": "session/update", "params": params}).encode()
    lines = [*[log("loop")] * MAX_EMPTY_ANSWERS, said] * 3
    assert all(isinstance(event, TextDelta) for event in hear(prompted, lines))


@pytest.mark.parametrize(
    "line",
    [
        unreachable(session="ses_other"),
        unreachable(rest=" small=true"),
        log("stream"),
        log('"unheard of'),
        b'timestamp=0 message="loop',
        b"timestamp=\xff\xfe",
        b"Error handling request {",
    ],
)
def test_other_lines_of_the_log_say_nothing(prompted: OpenCodeDialogue, line: bytes) -> None:
    assert list(hear(prompted, [line] * (MAX_EMPTY_ANSWERS + 2))) == []


def test_a_tool_server_that_is_not_there_is_told_once_by_the_name_that_people_know() -> None:
    line = b'timestamp=0 level=WARN message="server unavailable" key=server status=failed'
    [notice] = hear(dialogue(), [line, line])
    assert isinstance(notice, Notice)
    assert (notice.code, "天气" in notice.text) == ("mcp_dead", True)


def test_the_log_is_no_last_word_of_a_dead_process() -> None:
    error = dialogue().without_result(1, "timestamp=0 level=INFO x\nerror: no space left").error
    assert error is not None
    assert "no space left" in error.detail
    assert "timestamp" not in error.detail


# --- whose model ---------------------------------------------------------------------------------


def test_a_tasks_access_is_the_only_one_of_its_run(tmp_path: Path) -> None:
    config = configuration(assignment(tmp_path, model=ACCESS), [])
    assert config["enabled_providers"] == ["task"]
    assert (config["model"], config["small_model"]) == ("task/m1", "task/m1")
    provider = config["provider"]["task"]
    assert provider["npm"] == "@ai-sdk/openai-compatible"
    assert provider["options"]["baseURL"] == "http://127.0.0.1:1/v1"
    assert provider["options"]["apiKey"] == KEY


@pytest.mark.parametrize(
    "model",
    [
        ModelConfig(model="claude-x", api_key=KEY, base_url="https://gateway.example"),
        ModelConfig(model="x", api_key=KEY, base_url="https://x.example/anthropic/v1/"),
        ModelConfig(
            model="x",
            env={"ANTHROPIC_AUTH_TOKEN": KEY, "ANTHROPIC_BASE_URL": "https://gateway.example"},
        ),
    ],
)
def test_access_to_claude_speaks_its_api_with_both_ways_to_say_the_key(
    tmp_path: Path, model: ModelConfig
) -> None:
    provider = configuration(assignment(tmp_path, model=model), [])["provider"]["task"]
    assert provider["npm"] == "@ai-sdk/anthropic"
    assert provider["options"]["apiKey"] == KEY
    assert provider["options"]["baseURL"].endswith("/v1")
    assert provider["options"]["headers"] == {"Authorization": f"Bearer {KEY}"}


@pytest.mark.parametrize(
    ("protocol", "package", "address"),
    [
        ("anthropic", "@ai-sdk/anthropic", "https://gateway.example/v1"),
        ("openai", "@ai-sdk/openai-compatible", "https://gateway.example"),
        ("openai-responses", "@ai-sdk/openai", "https://gateway.example"),
        ("gemini", "@ai-sdk/google", "https://gateway.example"),
        ("new", "@ai-sdk/anthropic", "https://gateway.example/v1"),
    ],
)
def test_the_kind_of_api_is_the_one_that_the_task_says_and_guessed_where_it_says_none(
    tmp_path: Path, protocol: str, package: str, address: str
) -> None:
    url = "https://gateway.example"
    model = ModelConfig(model="claude-x", api_key=KEY, base_url=url, protocol=protocol)
    provider = configuration(assignment(tmp_path, model=model), [])["provider"]["task"]
    assert (provider["npm"], provider["options"]["baseURL"]) == (package, address)


def test_a_key_without_an_address_goes_to_its_vendor(tmp_path: Path) -> None:
    def address(model: str) -> str:
        wanted = assignment(tmp_path, model=ModelConfig(model=model, api_key=KEY))
        options = configuration(wanted, [])["provider"]["task"]["options"]
        assert options["headers"] == {}
        return str(options["baseURL"])

    assert address("claude-x") == "https://api.anthropic.com/v1"
    assert address("gpt-x") == "https://api.openai.com/v1"


def test_the_users_own_access_is_used_with_a_model_that_it_can_name(tmp_path: Path) -> None:
    own = configuration(assignment(tmp_path, model=ModelConfig(model="openai/gpt-x")), ["opencode"])
    assert (own["model"], own["disabled_providers"]) == ("openai/gpt-x", ["opencode"])
    other = configuration(assignment(tmp_path, model=ModelConfig(model="gpt-x")), ["opencode"])
    assert "model" not in other


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")


def test_the_vendors_free_models_are_off_unless_they_are_chosen(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path)}
    config = tmp_path / ".config" / "opencode"
    assert disabled_providers(env) == ["opencode"]
    write(config / "opencode.json", {"model": "openai/x", "disabled_providers": ["groq"]})
    assert disabled_providers(env) == ["groq", "opencode"]
    write(config / "opencode.jsonc", '{\n  // mine\n  "model": "opencode/big-pickle"\n}')
    assert disabled_providers(env) == ["groq"]


def test_the_vendors_models_are_on_for_who_signed_in_to_them(tmp_path: Path) -> None:
    write(tmp_path / "data" / "opencode" / "auth.json", {"opencode": {"type": "api"}})
    assert disabled_providers({"HOME": "/", "XDG_DATA_HOME": str(tmp_path / "data")}) == []


def test_a_configuration_that_cannot_be_read_chooses_nothing(tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    write(own, '{"model": "opencode/big-pickle"')
    env = {"HOME": str(tmp_path), "OPENCODE_CONFIG": str(own)}
    assert disabled_providers(env) == ["opencode"]


async def test_a_task_with_a_key_and_no_model_is_refused(tmp_path: Path) -> None:
    agent = OpenCode(agent_host(tmp_path, program_in(tmp_path)))
    task = assignment(tmp_path, model=ModelConfig(api_key=KEY))
    with pytest.raises(ExecutorError, match="opencode_not_signed_in"):
        await agent.run(task, lambda _: None, None)  # type: ignore[arg-type]


async def test_a_missing_opencode_is_told(tmp_path: Path) -> None:
    found = await OpenCode(agent_host(tmp_path)).availability()
    assert found.problem is not None
    assert found.problem.code == "opencode_missing"


@pytest.mark.parametrize(("models", "is_usable"), [("openai/gpt-x", True), ("", False)])
async def test_opencode_is_usable_where_it_has_a_model_of_the_users(
    tmp_path: Path, models: str, is_usable: bool
) -> None:
    script = f'[ "$1" = models ] && echo "{models}" || echo 1.18.33'
    found = await OpenCode(agent_host(tmp_path, program_in(tmp_path, script))).availability()
    assert (found.is_usable, found.version) == (is_usable, "1.18.33")
    code = found.problem.code if found.problem else None
    assert code == (None if is_usable else "opencode_not_signed_in")


def program_in(folder: Path, script: str = "exit 1") -> Path:
    program = folder / "bin" / "opencode"
    write(program, f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


# --- environment ---------------------------------------------------------------------------------


def test_a_private_home_holds_all_that_opencode_keeps(tmp_path: Path) -> None:
    home = tmp_path / "private"
    env = variables(assignment(tmp_path, model=ACCESS, private_home=home), [])
    homes = {name: env[name] for name in env if name.startswith("XDG_")}
    assert homes == {
        f"XDG_{name}_HOME": str(home / name.lower())
        for name in ("CONFIG", "DATA", "STATE", "CACHE")
    }
    assert (home / "config" / "opencode" / "node_modules").is_dir()
    assert env["OPENCODE_PURE"] == env["OPENCODE_DISABLE_DEFAULT_PLUGINS"] == "1"


def test_the_users_own_home_and_plugins_stay_as_they_are(tmp_path: Path) -> None:
    env = variables(assignment(tmp_path), [])
    assert not [name for name in env if name.startswith("XDG_")]
    assert not {"OPENCODE_PURE", "OPENCODE_DISABLE_DEFAULT_PLUGINS"} & env.keys()


def test_a_tasks_variables_pass_but_not_its_keys_beside_the_configuration(tmp_path: Path) -> None:
    env = {"MINE": "1", "ANTHROPIC_AUTH_TOKEN": KEY}
    found = variables(assignment(tmp_path, model=ModelConfig(model="x", env=env)), [])
    assert found["MINE"] == "1"
    assert "ANTHROPIC_AUTH_TOKEN" not in found


def test_attended_work_denies_all_but_files_whatever_the_folder_says(tmp_path: Path) -> None:
    attended = assignment(tmp_path, permission=Permission.WORKSPACE_WRITE)
    rules = configuration(attended, [])["permission"]
    assert rules["*"] == rules["bash"] == rules["external_directory"] == "deny"
    assert rules["edit"] == rules["read"] == "allow"
    assert variables(attended, [])["OPENCODE_DISABLE_PROJECT_CONFIG"] == "1"
    assert "permission" not in configuration(assignment(tmp_path), [])
    looking = configuration(assignment(tmp_path, permission=Permission.READ_ONLY), [])["permission"]
    assert looking == rules | {"edit": "deny"}


def test_the_system_prompt_is_a_file_that_the_configuration_names(tmp_path: Path) -> None:
    config = configuration(assignment(tmp_path, system_prompt="Be kind."), [])
    (path,) = config["instructions"]
    assert Path(path).read_text() == "Be kind."
