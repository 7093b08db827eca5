"""One documented `task:execute` of every generation, and the one request it becomes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from executor_core.links.device.payload import parse_execute
from executor_core.model import (
    Attachment,
    GitAuthor,
    GitClone,
    GitCredential,
    ModelConfig,
    Notice,
    RunRequest,
    SkillRef,
    Source,
    TaskFiles,
)

ORIGIN = "https://wegent.example.com"
PAYLOADS: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parent / "documented.json").read_text(encoding="utf-8")
)
VARIABLES = {
    "GIT_DOMAIN": "github.com",
    "GIT_REPO": "acme/app",
    "GIT_REPO_ID": "998877",
    "BRANCH_NAME": "main",
    "GIT_URL": "https://github.com/acme/app.git",
}
TRACE = Attachment(id=301, name="trace.png", size_bytes=48211, media_type="image/png")


ERA_3_TOKEN = "tYb0...=="


def clone(login: str) -> GitClone:
    token = {"alice-gh": "tYb0o1W9...==", "alice-gh of era 1": "tYb0o1W9...base64 ciphertext...=="}
    return GitClone(
        task_folder="4812",
        url="https://github.com/acme/app.git",
        branch="main",
        repo_name="acme/app",
        credential=GitCredential(host="github.com", token=token[login], login="alice-gh"),
        author=GitAuthor(name="alice-gh", email="alice@example.com"),
    )


ERA_1 = RunRequest(
    run_id="",
    source=Source.DEVICE,
    request_key=f"{ORIGIN}/task/4812/subtask/20931",
    conversation_key=f"{ORIGIN}/task/4812/bot/93",
    address=f"{ORIGIN}#17",
    reply_to={
        "task_id": 4812,
        "subtask_id": 20931,
        "message_id": None,
        "shell_type": "ClaudeCode",
    },
    agent="claude_code",
    title="Fix the login bug",
    task_id=4812,
    subtask_id=20931,
    prompt="Fix the login bug. See [attachment:301]",
    model=ModelConfig(
        model="claude-sonnet-4-5",
        small_model="claude-haiku-4-5",
        api_key="sk-ant-...plain...",
        base_url="https://api.anthropic.com/v1",
    ),
    system_prompt="You are a careful engineer.\nTeam note.",
    workspace=clone("alice-gh of era 1"),
    task_files=TaskFiles(
        server=ORIGIN,
        token="eyJ...user JWT valid 24 h...",
        attachments=(TRACE,),
        skills=(SkillRef(name="code-review"),),
        preferred_skills=("code-review",),
    ),
    mcp_servers={
        "docs": {
            "type": "http",
            "url": "https://mcp.example.com",
            "headers": {"Authorization": "Bearer alice"},
        }
    },
    variables=VARIABLES,
)
EXPECTED = {
    "era 0": replace(ERA_1, task_files=replace(ERA_1.task_files, preferred_skills=())),
    "era 1": ERA_1,
    "era 2": replace(
        ERA_1,
        title="Fix the login bug. See [attachment:301]",
        reply_to=ERA_1.reply_to | {"message_id": 40},
        model=ModelConfig(
            model="claude-sonnet-4-5",
            api_key="sk-ant-...plain...",
            base_url="https://api.anthropic.com",
            protocol="anthropic",
        ),
        system_prompt="You are a careful engineer.",
        workspace=clone("alice-gh"),
        task_files=TaskFiles(
            server=ORIGIN,
            token="eyJ...task token...",
            attachments=(TRACE,),
            skills=(SkillRef(name="code-review", skill_id=41),),
            preferred_skills=("code-review",),
        ),
        mcp_servers={"docs": {"type": "http", "url": "https://mcp.example.com", "headers": {}}},
    ),
    "era 3": RunRequest(
        run_id="",
        source=Source.DEVICE,
        request_key=f"{ORIGIN}/task/5120/subtask/23377",
        conversation_key=f"{ORIGIN}/task/5120/bot/140",
        address=f"{ORIGIN}#17",
        reply_to={
            "task_id": 5120,
            "subtask_id": 23377,
            "message_id": 3,
            "shell_type": "CodeX",
        },
        agent="codex",
        title="Add tests",
        task_id=5120,
        subtask_id=23377,
        prompt="Add tests",
        model=ModelConfig(
            model="gpt-5.2-codex",
            api_key="sk-...",
            base_url="https://api.openai.com/v1",
            protocol="openai-responses",
            headers={"X-Team": "a"},
        ),
        workspace=GitClone(
            task_folder="5120",
            url="https://github.com/acme/app.git",
            place="/Users/alice/work/app",
            branch="main",
            credential=GitCredential(host="github.com", token=ERA_3_TOKEN, login="alice-gh"),
            author=GitAuthor(name="alice-gh", email="alice@example.com"),
        ),
        variables={name: VARIABLES[name] for name in ("GIT_DOMAIN", "BRANCH_NAME", "GIT_URL")},
        task_files=TaskFiles(server=ORIGIN, token="eyJ...task token..."),
    ),
}


def read(payload: object) -> RunRequest:
    request, problem = parse_execute(payload, ORIGIN, server=ORIGIN, token="wg-of-the-connection")
    assert problem is None
    return request


def mcp(*servers: object, **more: object) -> RunRequest:
    return read({"task_id": 1, "subtask_id": 2, "prompt": "x", "mcp_servers": [*servers]} | more)


@pytest.mark.parametrize("era", PAYLOADS)
def test_a_documented_payload_becomes_exactly_this_request(era: str) -> None:
    assert replace(read(PAYLOADS[era]), run_id="") == EXPECTED[era]


@pytest.mark.parametrize("era", PAYLOADS)
def test_the_internal_address_of_the_server_is_never_used(era: str) -> None:
    request = read(PAYLOADS[era] | {"backend_url": "http://backend:8000"})
    assert request.task_files.server == ORIGIN
    assert "backend:8000" not in str(request.mcp_servers)


def test_the_token_of_the_task_is_a_secret_of_the_request() -> None:
    request = read(PAYLOADS["era 2"])
    assert "eyJ...task token..." in request.secrets
    assert "eyJ" not in repr(request) + repr(request.task_files)


def test_without_a_token_of_the_task_the_one_of_the_connection_opens_what_it_brings() -> None:
    request = read(PAYLOADS["era 1"] | {"auth_token": None})
    assert request.task_files.token == "wg-of-the-connection"


# --- what is wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("attachments", {"id": 1}),
        ("attachments", [{"name": "no id"}]),
        ("attachments", [{"id": -1}]),
        ("auth_token", 7),
        ("bot", "dev-bot"),
        ("bot", [{"skills": "code-review"}]),
        ("bot", [{"mcp_servers": "docs"}]),
        ("branch_name", ["main"]),
        ("git_url", 5),
        ("model_config", "claude"),
        ("project_workspace_path", ["x"]),
        ("skill_names", "code-review"),
        ("skill_names", [7]),
        ("user", "alice"),
        ("user_selected_skills", [{}]),
    ],
)
def test_a_wrong_field_is_refused_by_its_name(field: str, value: object) -> None:
    _, problem = parse_execute(PAYLOADS["era 2"] | {field: value}, ORIGIN)
    assert problem is not None
    assert problem.code == "task_field_wrong"
    assert field in problem.message.sentence


@pytest.mark.parametrize("empty", [None, "", [], {}, 0, False])
@pytest.mark.parametrize("field", ["attachments", "skill_names", "mcp_servers", "user", "bot"])
def test_an_empty_value_of_another_kind_stands_for_nothing(field: str, empty: object) -> None:
    assert parse_execute(PAYLOADS["era 2"] | {field: empty}, ORIGIN)[1] is None


# --- tool servers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape",
    [
        {"docs": {"url": "https://x/y"}},
        {"mcpServers": {"docs": {"url": "https://x/y"}}},
        {"mcp_servers": [{"name": "docs", "url": "https://x/y"}]},
        [{"name": "docs", "type": "streamable-http", "url": "https://x/y"}],
    ],
)
@pytest.mark.parametrize("field", ["mcp_servers", "system_mcp_config"])
def test_tool_servers_are_read_in_every_shape(field: str, shape: object) -> None:
    body = {"task_id": 1, "subtask_id": 2, "prompt": "x", field: shape}
    expected = {"docs": {"type": "http", "url": "https://x/y", "headers": {}}}
    assert read(body).mcp_servers == expected
    assert read(body | {field: None, "bot": [{"mcp_servers": shape}]}).mcp_servers == expected


def test_servers_whose_names_are_alike_or_missing_replace_none() -> None:
    def lists(*names: str) -> list[dict[str, str]]:
        return [{"name": name, "url": f"https://x/{name}/{n}"} for n, name in enumerate(names)]

    body = {"task_id": 1, "subtask_id": 2, "prompt": "x"}
    body |= {"system_mcp_config": lists("天气", "", "twice", "twice"), "mcp_servers": lists("地图")}
    request = read(body | {"bot": [{"mcp_servers": lists("", "天气")}]})
    assert {name: server["url"] for name, server in request.mcp_servers.items()} == {
        "天气": "https://x/天气/1",  # the bot's own entry goes before
        "server-2": "https://x//1",
        "twice": "https://x/twice/2",
        "twice-4": "https://x/twice/3",
        "地图": "https://x/地图/0",
        "server-6": "https://x//0",
    }


def test_placeholders_are_filled_from_the_task_everywhere() -> None:
    stdio = {
        "name": "a b",
        "command": "/bin/${{user.name}}",
        "args": ["--task=${{task_id}}", 3, True],
        "env": {"TOKEN": "${{ task_token }}", "NONE": None, "SKILL": "${{bot.0.skills.1}}"},
    }
    web = {"name": "w", "type": "sse", "url": "${{backend_url}}/sse", "auth": {"X-A": "1"}}
    request = mcp(
        stdio, web, user={"name": "alice"}, auth_token="eyJtask", bot=[{"skills": ["s", "t"]}]
    )
    assert request.mcp_servers == {
        "a b": {
            "type": "stdio",
            "command": "/bin/alice",
            "args": ["--task=1", "3", "true"],
            "env": {"TOKEN": "eyJtask", "SKILL": "t"},
        },
        "w": {"type": "sse", "url": f"{ORIGIN}/sse", "headers": {"X-A": "1"}},
    }
    assert "eyJtask" in request.secrets


def test_a_server_whose_value_is_missing_is_left_out_and_the_person_is_told() -> None:
    broken = {"name": "broken", "url": "https://x", "headers": {"A": "${{user.secret}}"}}
    request = mcp(broken, {"name": "good", "url": "https://x"})
    assert list(request.mcp_servers) == ["good"]
    [notice] = request.remarks
    assert isinstance(notice, Notice)
    assert "broken" in notice.text
    assert "${{user.secret}}" in notice.text


@pytest.mark.parametrize(
    "path",
    [
        "task_token",
        "auth_token",
        "user.git_token",
        "model_config.api_key",
        "bot.0.agent_config.env.api_key",
        "mcp_servers.1.headers.Authorization",
    ],
)
@pytest.mark.parametrize("place", ["command", "args"])
def test_no_secret_is_filled_in_where_every_user_of_the_computer_can_read_it(
    path: str, place: str
) -> None:
    """Arguments are public; a server whose setting puts a secret there is left out."""
    exposed: dict[str, Any] = {"name": "exposed", "command": "tool", "args": ["--ok"]}
    filled = f"--key=${{{{ {path} }}}}"
    exposed[place] = [filled] if place == "args" else filled
    request = mcp(
        exposed,
        {"name": "good", "url": "https://x", "headers": {"Authorization": "Bearer s3cret"}},
        auth_token="s3cret",
        user={"git_token": "s3cret"},
        model_config={"api_key": "s3cret"},
        bot=[{"agent_config": {"env": {"api_key": "s3cret"}}}],
    )
    assert list(request.mcp_servers) == ["good"]
    [notice] = request.remarks
    assert "exposed" in notice.text
    assert f"${{{{{path}}}}}" in notice.text
    assert "s3cret" not in notice.text


def test_a_secret_that_was_filled_in_is_one_wherever_it_stands() -> None:
    """Neither an address nor a name like `X` tells that it is followed by a secret."""
    web = {"name": "w", "url": "https://x/sse?t=${{task_token}}"}
    program = {"name": "p", "command": "tool", "env": {"X": "${{user.git_token}}"}}
    request = mcp(web, program, task_token="of-the-task", user={"git_token": "of-git"})
    assert {"of-the-task", "of-git"} <= set(request.secrets)
    assert "of-the-task" not in repr(request)


def test_the_token_of_the_connection_is_no_value_of_a_placeholder() -> None:
    """It opens the whole account, and tool servers are other people's."""
    servers = [
        {"name": name, "url": "https://x", "headers": {"A": f"Bearer ${{{{{name}}}}}"}}
        for name in ("task_token", "auth_token", "token")
    ]
    request = mcp(*servers)
    assert request.mcp_servers == {}
    assert len(request.remarks) == 3


@pytest.mark.parametrize(
    "server",
    [
        {"url": "file:///etc/passwd"},
        {"url": ["https://x"]},
        {"type": "websocket", "url": "https://x"},
        {"type": "stdio"},
        {"command": {}, "type": "stdio"},
        {"command": "x", "args": [{}]},
        {"url": "https://x", "headers": {"A": "x" * 70_000}},
        "docs",
    ],
)
def test_settings_that_are_no_tool_server_are_left_out_in_words(server: object) -> None:
    request = mcp(server)
    assert request.mcp_servers == {}
    assert len(request.remarks) == 1
