"""What servers of every generation send as `task:execute`, and what we read in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executor_core.links.device.frames import Json
from executor_core.links.device.payload import parse_execute, task_ids
from executor_core.model import (
    Folder,
    GitAuthor,
    GitClone,
    GitCredential,
    Image,
    Member,
    ModelConfig,
    RunRequest,
    SkillRef,
    Source,
    TaskFiles,
    TaskFolder,
)
from tests.links.story import PATIENT

ORIGIN = "https://wegent.example.com"
SERVER = f"{ORIGIN}/prefix"
FOLDER = Path(__file__).parent


def recorded(name: str) -> Any:
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def execute_of_2026_02() -> Any:
    for frame in recorded("server_2026_02.json")["frames"]:
        if frame["sio"] == "event" and frame["data"][0] == "task:execute":
            return frame["data"][1]
    raise AssertionError("no task:execute in the recording")


def read(payload: object, account: str | None = None) -> RunRequest:
    request, problem = parse_execute(payload, ORIGIN, account, server=SERVER, token="wg-mine")
    assert problem is None
    return request


# --- recorded ----------------------------------------------------------------------------------


def test_the_recorded_task_of_a_five_slot_server() -> None:
    request = read(execute_of_2026_02())
    assert request == RunRequest(
        run_id=request.run_id,
        source=Source.DEVICE,
        request_key=f"{ORIGIN}/task/1/subtask/2",
        conversation_key=f"{ORIGIN}/task/1/bot/34",
        address=f"{ORIGIN}#1",
        reply_to={"task_id": 1, "subtask_id": 2, "message_id": None, "shell_type": "ClaudeCode"},
        agent="claude_code",
        title="hello there",
        task_id=1,
        subtask_id=2,
        prompt="hello there",
        model=ModelConfig(
            model="claude-fake-1", api_key="sk-fake", base_url="http://127.0.0.1:9000"
        ),
        system_prompt="You are a test bot.",
        workspace=TaskFolder(name="1"),
        task_files=TaskFiles(server=SERVER, token="eyJ<redacted>"),
    )


def test_the_recorded_task_of_a_v2_server() -> None:
    request = read(recorded("server_v2_0_12.json")["task:execute"])
    assert request == RunRequest(
        run_id=request.run_id,
        source=Source.DEVICE,
        request_key=f"{ORIGIN}/task/1/subtask/2",
        conversation_key=f"{ORIGIN}/task/1/bot/53",
        address=f"{ORIGIN}#1",
        reply_to={"task_id": 1, "subtask_id": 2, "message_id": 2, "shell_type": "ClaudeCode"},
        agent="claude_code",
        title="hello aug",
        task_id=1,
        subtask_id=2,
        prompt="hello aug",
        model=ModelConfig(
            model="claude-fake-1",
            api_key="sk-fake",
            base_url="http://127.0.0.1:9000",
            protocol="anthropic",
            headers={
                "user": "admin",
                "wegent-agent-namespace": "default",
                "wegent-agent-name": "accept-team",
            },
        ),
        system_prompt="<base_prompt>\nYou are a test bot.\n</base… <941 characters in all>",
        workspace=TaskFolder(name="1"),
        task_files=TaskFiles(
            server=SERVER,
            token="eyJ<redacted>",
            skills=(
                SkillRef(
                    name="subscription-manager",
                    skill_id=4,
                    version="sha256:aa7556e6eb19bf01537060b474c357ba56fce4a95bc78abfd52a82741a40f3a5",
                ),
            ),
        ),
        mcp_servers={
            "subscription-manager_wegent-subscription": {
                "type": "http",
                "url": f"{SERVER}/mcp/subscription/sse",
                "headers": {"Authorization": "Bearer eyJ<redacted>"},
            }
        },
        other_secrets=("eyJ<redacted>",),
    )


def test_what_we_keep_for_the_reply_holds_no_secret_of_the_task() -> None:
    for payload in (execute_of_2026_02(), recorded("server_v2_0_12.json")["task:execute"]):
        request = read(payload)
        assert set(request.reply_to) == {"task_id", "subtask_id", "message_id", "shell_type"}
        assert "sk-fake" not in repr(request)
        assert "eyJ" not in str(request.reply_to)
        assert "sk-fake" not in repr(request.model)


# --- documented shapes -------------------------------------------------------------------------

ERA_1: dict[str, Any] = {
    "subtask_id": 20931,
    "subtask_next_id": None,
    "task_id": 4812,
    "type": "online",
    "is_subscription": False,
    "executor_name": "device-hw-3f9a1c0b77de",
    "executor_namespace": "user-17",
    "subtask_title": "Fix the login bug - Assistant",
    "task_title": "Fix the login bug",
    "user": {"id": 17, "name": "alice", "git_domain": "github.com", "git_token": "tYb0=="},
    "bot": [
        {
            "id": 93,
            "name": "dev-bot",
            "shell_type": "ClaudeCode",
            "agent_config": {
                "env": {
                    "model": "claude",
                    "model_id": "claude-sonnet-4-5",
                    "api_key": "sk-ant-plain",
                    "base_url": "https://api.anthropic.com/v1",
                    "small_model": "claude-haiku-4-5",
                }
            },
            "system_prompt": "You are a careful engineer.\nTeam note.",
            "mcp_servers": {"docs": {"type": "streamable-http", "url": "https://mcp.example.com"}},
            "skills": ["code-review"],
            "role": "",
            "base_image": None,
        }
    ],
    "team_id": 55,
    "mode": "solo",
    "git_domain": "github.com",
    "git_repo": "acme/app",
    "git_repo_id": 998877,
    "branch_name": "main",
    "git_url": "https://github.com/acme/app.git",
    "prompt": "Fix the login bug.",
    "auth_token": "eyJ",
    "attachments": [],
    "status": "RUNNING",
    "progress": 0,
    "new_session": False,
}
ERA_2: dict[str, Any] = {
    "task_id": 4812,
    "subtask_id": 20931,
    "subtask_title": None,
    "task_title": None,
    "user": {"id": 17, "name": "alice"},
    "user_id": 17,
    "bot": [
        {
            "id": 93,
            "shell_type": "ClaudeCode",
            "agent_config": {
                "env": {
                    "model": "claude",
                    "model_id": "claude-old",
                    "api_key": "9kQciphertext==",
                    "EXTRA_FLAG": 1,
                    "NOTHING": None,
                },
                "protocol": "anthropic",
            },
            "system_prompt": "You are a careful engineer.",
            "mcp_servers": [{"name": "docs", "type": "http", "url": "https://mcp.example.com"}],
            "skills": ["code-review"],
            "role": "leader",
        }
    ],
    "model_config": {
        "api_key": "sk-ant-plain",
        "base_url": "https://api.anthropic.com",
        "model_id": "claude-sonnet-4-5",
        "model": "claude",
        "default_headers": {"X-Team": "a", "X-None": None},
    },
    "system_prompt": "You are a careful engineer.",
    "prompt": "Fix the login bug.",
    "workspace": {
        "repository": {"gitUrl": "https://github.com/acme/app.git", "branchName": "main"}
    },
    "git_url": None,
    "branch_name": None,
    "message_id": 40,
    "new_session": False,
    "skip_git_clone": False,
}
ERA_3: dict[str, Any] = {
    "task_id": "5120",
    "subtask_id": "23377",
    "user": {"id": "17", "name": "alice"},
    "bot": [{"id": 140, "shell_type": "CodeX", "agent_config": {}, "system_prompt": ""}],
    "model_config": {
        "model": "openai",
        "model_id": "gpt-5.2-codex",
        "api_key": "sk-x",
        "base_url": "https://api.openai.com/v1",
        "default_headers": {"X-Team": "a"},
        "reasoning": {"effort": "medium"},
    },
    "system_prompt": "",
    "prompt": [{"type": "input_text", "text": "Add tests"}],
    "git_url": "https://github.com/acme/app.git",
    "project_id": 12,
    "project_workspace_path": "/Users/alice/work/app",
    "new_session": True,
    "message_id": "3",
}
ERA_0 = {name: ERA_1[name] for name in ERA_1 if name not in ("auth_token", "attachments")}


def without(payload: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in payload.items() if name not in names}


@pytest.mark.parametrize("payload", [ERA_0, ERA_1], ids=["era 0", "era 1"])
def test_the_first_generations(payload: dict[str, Any]) -> None:
    request = read(payload)
    assert request.title == "Fix the login bug"
    assert request.system_prompt == "You are a careful engineer.\nTeam note."
    assert request.model.model == "claude-sonnet-4-5"
    assert request.model.small_model == "claude-haiku-4-5"
    assert request.model.api_key == "sk-ant-plain"
    assert request.model.base_url == "https://api.anthropic.com/v1"
    assert isinstance(request.workspace, GitClone)
    assert request.workspace.task_folder == "4812"
    assert request.workspace.url == "https://github.com/acme/app.git"
    assert request.workspace.branch == "main"
    assert request.reply_to["message_id"] is None


def test_the_second_generation_with_the_key_of_the_bot_encrypted() -> None:
    request = read(ERA_2)
    assert request.model == ModelConfig(
        model="claude-sonnet-4-5",
        api_key="sk-ant-plain",
        base_url="https://api.anthropic.com",
        protocol="anthropic",
        headers={"X-Team": "a"},
        env={"EXTRA_FLAG": "1"},
    )
    assert isinstance(request.workspace, GitClone)
    assert request.workspace.branch == "main"
    assert request.reply_to["message_id"] == 40


def test_the_third_generation_with_numbers_as_strings() -> None:
    request = read(ERA_3)
    assert (request.task_id, request.subtask_id) == (5120, 23377)
    assert request.reply_to == {
        "task_id": 5120,
        "subtask_id": 23377,
        "message_id": 3,
        "shell_type": "CodeX",
    }
    assert request.agent == "codex"
    assert request.prompt == "Add tests"
    assert request.workspace == GitClone(
        task_folder="5120",
        url="https://github.com/acme/app.git",
        place="/Users/alice/work/app",
    )
    assert request.new_session
    assert request.address == f"{ORIGIN}#17"


def test_a_project_names_its_folder_or_has_one_of_its_own() -> None:
    named = without(ERA_3, "git_url")
    assert read(named).workspace == Folder(path="/Users/alice/work/app")
    numbered = read(without(ERA_3, "project_workspace_path")).workspace
    assert isinstance(numbered, GitClone)
    assert (numbered.task_folder, numbered.place) == ("projects/12", "")
    assert read(ERA_2 | {"project_id": 0}).workspace == read(ERA_2).workspace
    assert read(without(named, "project_workspace_path")).workspace == TaskFolder(name="5120")


def test_programs_of_the_agent_are_told_of_the_repository_but_not_of_a_login() -> None:
    repository = {"gitUrl": "https://me:secret@git.example.com/a/b.git", "gitRepoId": 7}
    said = {"workspace": {"repository": repository}, "git_repo": "a/b", "branch_name": "x\ny"}
    assert read(without(ERA_2, "git_url", "git_domain", "git_repo_id") | said).variables == {
        "GIT_REPO": "a/b",
        "GIT_REPO_ID": "7",
        "GIT_URL": "https://git.example.com/a/b.git",
    }


# --- teams -------------------------------------------------------------------------------------

TEAM: list[dict[str, Any]] = [
    {"id": 1, "name": "Leader", "shell_type": "ClaudeCode", "system_prompt": "Lead."},
    {"id": 2, "name": "Code Reviewer!", "system_prompt": "Review.\nBe strict.", "role": ""},
    {"id": 3, "name": "测试", "system_prompt": "", "role": "tests"},
    {"name": "Code Reviewer", "system_prompt": "x"},
]


def test_the_members_of_a_coordinated_team_are_known_to_its_leader() -> None:
    request = read(ERA_2 | {"bot": TEAM, "mode": "coordinate"})
    assert request.system_prompt != "Review.\nBe strict."
    assert request.members == (
        Member(
            name="code-reviewer-2",
            description="Code Reviewer!: Review.",
            prompt="Review.\nBe strict.",
        ),
        Member(name="member-3", description="测试: tests", prompt="测试: tests"),
        Member(name="code-reviewer-n3", description="Code Reviewer: x", prompt="x"),
    )


@pytest.mark.parametrize("mode", [None, "solo", "pipeline", ["coordinate"]])
def test_in_other_teams_the_server_asks_one_bot_after_the_other(mode: object) -> None:
    assert read(ERA_2 | {"bot": TEAM, "mode": mode}).members == ()


@pytest.mark.parametrize(
    ("session", "found"),
    [
        ({"agent": "ClaudeCode", "botId": 93, "sessionId": "0b-1"}, "0b-1"),
        ({"agent": "Claude Code", "bot_id": "93", "session_id": "0b-1"}, "0b-1"),
        ({"agent": "ClaudeCode", "sessionId": "0b-1"}, "0b-1"),
        ({"agent": "ClaudeCode", "botId": 5, "sessionId": "0b-1"}, None),
        ({"agent": "CodeX", "botId": 93, "sessionId": "0b-1"}, None),
        ({"agent": "ClaudeCode", "botId": 93, "sessionId": "--help"}, None),
        ({"agent": "ClaudeCode", "botId": 93, "sessionId": "../x"}, None),
        ("x", None),
    ],
)
def test_a_forked_task_goes_on_from_the_conversation_that_it_brings(
    session: object, found: str | None
) -> None:
    assert read(ERA_2 | {"inherited_sessions": [session]}).inherited_session == found


def test_a_task_belongs_to_the_login_it_came_under() -> None:
    assert read(ERA_1, account="5").address == f"{ORIGIN}#5"
    assert read(without(ERA_1, "user")).address == ORIGIN


def test_a_clone_that_is_not_wanted_leaves_the_folder_of_the_task() -> None:
    assert read(ERA_2 | {"skip_git_clone": True}).workspace == TaskFolder(name="4812")


@pytest.mark.parametrize("branch", [None, "", "  "])
def test_a_clone_without_a_branch_takes_the_default(branch: object) -> None:
    workspace = read(ERA_1 | {"branch_name": branch, "workspace": None}).workspace
    assert isinstance(workspace, GitClone)
    assert workspace.branch is None


@pytest.mark.parametrize("config", [{}, {"model": "", "model_id": None}])
def test_a_server_that_names_no_model_leaves_the_login_of_the_user(config: object) -> None:
    """Also where the bot has one: its key is encrypted there."""
    assert read(ERA_2 | {"model_config": config}).model == ModelConfig()


@pytest.mark.parametrize(
    ("said", "protocol"),
    [
        ({}, None),
        ({"protocol": "anthropic"}, "anthropic"),
        ({"protocol": "openai", "api_format": "responses"}, "openai-responses"),
        ({"wire_api": "responses"}, "openai-responses"),
        ({"protocol": "anthropic", "api_format": "responses"}, "anthropic"),
        ({"protocol": None, "api_format": ["responses"]}, None),
    ],
)
def test_what_the_model_service_speaks_is_kept(said: Any, protocol: str | None) -> None:
    config = {"model": "m", "model_id": "m", **said}
    assert read(ERA_2 | {"model_config": config}).model.protocol == protocol


def test_what_the_bot_says_of_its_model_service_counts_for_its_own_model_only() -> None:
    env = {"model": "m", "model_id": "m"}
    bot = {"shell_type": "ClaudeCode", "agent_config": {"env": env, "protocol": "anthropic"}}
    task = {"task_id": 1, "subtask_id": 2, "prompt": "x", "bot": [bot]}
    assert read(task).model.protocol == "anthropic"
    assert read(task | {"model_config": {"model": "n", "model_id": "n"}}).model.protocol is None


@pytest.mark.parametrize("agent_config", [None, {}, {"bind_model": "m"}, {"env": None}])
def test_a_bot_without_a_model_leaves_the_login_of_the_user(agent_config: object) -> None:
    bot = {"shell_type": "ClaudeCode", "agent_config": agent_config}
    assert read({"task_id": 1, "subtask_id": 2, "prompt": "x", "bot": [bot]}).model == ModelConfig()


def test_a_key_that_is_only_a_placeholder_is_no_key() -> None:
    env = {"model": "claude", "model_id": "m", "api_key": "${ANTHROPIC_API_KEY}"}
    bot = {"agent_config": {"env": env}}
    model = read({"task_id": 1, "subtask_id": 2, "prompt": "x", "bot": [bot]}).model
    assert (model.model, model.api_key, model.brings_access) == ("m", None, False)


def test_pictures_in_a_prompt_travel_with_it() -> None:
    prompt = [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": "data:image/png;base64,aGk="},
        {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,aG8="}},
        {"type": "input_image", "image_url": "https://example.com/a.png"},
        {"type": "input_image"},
        "plain",
        7,
        None,
    ]
    request = read(ERA_2 | {"prompt": prompt})
    assert request.prompt == "What is this?\n[image: https://example.com/a.png]\nplain"
    assert request.images == (
        Image(media_type="image/png", data="aGk="),
        Image(media_type="image/jpeg", data="aG8="),
    )


@pytest.mark.parametrize("name", sorted(set(ERA_2) - {"task_id", "subtask_id", "prompt"}))
def test_null_and_missing_mean_the_same(name: str) -> None:
    missing, null = read(without(ERA_2, name)), read(ERA_2 | {name: None})
    assert msgspec.structs.replace(missing, run_id="") == msgspec.structs.replace(null, run_id="")


# --- what cannot be used -----------------------------------------------------------------------


@pytest.mark.parametrize("ids", [{}, {"task_id": 1}, {"subtask_id": 1}])
@pytest.mark.parametrize("bad", [None, 0, -1, True, "x", "", "²", 1.5, [], 2**63, "9" * 5000])
def test_without_ids_nobody_can_be_answered(ids: dict[str, Any], bad: object) -> None:
    names = [name for name in ("task_id", "subtask_id") if name not in ids]
    with pytest.raises(ValueError, match="without task_id and subtask_id"):
        parse_execute(ids | dict.fromkeys(names, bad) | {"prompt": "x"}, ORIGIN)


@pytest.mark.parametrize("shell", ["Dify", "Chat", "gemini", "mistral-vibe", "x" * 10_000])
def test_any_other_shell_is_the_name_of_an_agent_which_only_the_executor_knows(shell: str) -> None:
    request, problem = parse_execute(ERA_1 | {"bot": [{"shell_type": shell}]}, ORIGIN)
    assert problem is None
    assert request.agent == shell.lower()[:100]
    assert len(request.reply_to["shell_type"]) <= 100


@pytest.mark.parametrize("prompt", [None, "", " \n", [], [{"type": "input_text"}], 7, {}])
def test_an_empty_prompt_is_refused_in_words(prompt: object) -> None:
    _, problem = parse_execute(ERA_1 | {"prompt": prompt}, ORIGIN)
    assert problem is not None
    assert problem.code == "prompt_empty"


def test_a_picture_alone_is_a_prompt() -> None:
    picture = {"type": "input_image", "image_url": "data:image/png;base64,aGk="}
    assert read(ERA_1 | {"prompt": [picture]}).prompt == ""


_names = st.sampled_from(
    sorted(
        {*ERA_1, *ERA_2, *ERA_3, "env", "id", "text", "type", "image_url"}
        | {"skill_refs", "skill_names", "skill_id", "mcp_servers", "mcpServers", "url", "command"}
        | {"args", "headers", "name", "original_filename", "file_size", "system_mcp_config"}
    )
)
_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["http://x/${{user.name}}", "${{task_id}}", "${{bot.0.skills}}", "stdio"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(_names | st.text(max_size=5), inner)
    ),
    max_leaves=25,
)


@settings(PATIENT, derandomize=True, max_examples=60)
@given(_json, st.dictionaries(_names, _json), st.booleans())
def test_no_json_at_all_raises_anything_but_missing_ids(
    anything: object, fields: dict[str, object], is_addressed: bool
) -> None:
    payloads: list[object] = [anything, ERA_1 | fields, ERA_2 | fields, ERA_3 | fields]
    if is_addressed:
        payloads = [ERA_2 | fields | {"task_id": 1, "subtask_id": "2"}]
    for payload in payloads:
        task_ids(payload)
        try:
            request, problem = parse_execute(payload, ORIGIN)
        except ValueError:
            assert not is_addressed
            continue
        assert problem is None or problem.message.sentence
        # What an agent is handed must have the shape that is promised to it.
        msgspec.json.decode(msgspec.json.encode(request.task_files), type=TaskFiles)
        for server in request.mcp_servers.values():
            assert set(server) in ({"type", "command", "args", "env"}, {"type", "url", "headers"})
        assert all(isinstance(secret, str) for secret in request.secrets)
        # It must fit on disk, where the reply is kept.
        msgspec.json.encode(request.reply_to)


# --- the reading itself ------------------------------------------------------------------------


def test_half_an_emoji_in_a_task_does_not_lose_the_task() -> None:
    raw = r'{"task_id": 1, "subtask_id": 2, "prompt": "cut \ud83d here", "progress": NaN}'
    assert read(Json.loads(raw)).prompt == "cut ? here"


def test_what_is_no_json_is_an_error_of_value() -> None:
    for raw in ("", "{", '{"a": }', "nope"):
        with pytest.raises(ValueError, match=r".+"):
            Json.loads(raw)


def test_a_repository_is_cloned_with_the_users_login_and_in_the_users_name() -> None:
    user = {
        "id": 17,
        "git_domain": "github.com",
        "git_token": "tYb0o1W9",
        "git_login": "alice-gh",
        "git_id": "1234567",
    }
    body = ERA_1 | {
        "user": user,
        "git_url": "https://github.com/acme/app.git",
        "branch_name": " x ",
    }
    request, problem = parse_execute(body, ORIGIN)
    assert problem is None
    assert request.workspace == GitClone(
        task_folder=str(ERA_1["task_id"]),
        url="https://github.com/acme/app.git",
        branch="x",
        repo_name=str(ERA_1["git_repo"]),
        credential=GitCredential(host="github.com", token="tYb0o1W9", login="alice-gh"),
        author=GitAuthor(name="alice-gh", email="1234567+alice-gh@users.noreply.github.com"),
    )


def test_the_owner_may_have_every_task_answered_by_one_agent() -> None:
    body = ERA_1 | {"bot": [{"shell_type": "Agno"}]}
    request, problem = parse_execute(body, ORIGIN, agent="codex")
    assert (request.agent, problem) == ("codex", None)
