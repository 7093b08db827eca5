"""Reads a server's `task:execute`, of every generation, into one RunRequest.

Purely structural: which generation sent it does not matter, only which fields are there. Unknown
fields are ignored, null and missing mean the same, and what cannot be used is refused in words.
"""

from __future__ import annotations

import re

from msgspec import Struct

from executor_core.errors import ExecutorError
from executor_core.links.device.fields import (
    Json,
    check_shapes,
    fields_of,
    first_of,
    positive,
    text_of,
)
from executor_core.links.device.forms import with_form_answer
from executor_core.links.device.materials import read_materials
from executor_core.links.device.mcp import read_mcp_servers
from executor_core.links.device.permissions import claude_mode, read_profile
from executor_core.links.device.repository import read_workspace, repository_variables
from executor_core.links.device.team import inherited_session, read_members
from executor_core.model import (
    Image,
    Materials,
    ModelConfig,
    RunRequest,
    Source,
)

SHELLS = {"claudecode": "claude_code", "codex": "codex", "opencode": "opencode", "demo": "demo"}
"""`bot[].shell_type`, in lower case, and the agent that answers for it where it has another name.

What stands in no table here is taken for the name of an agent: which of them there are, the
executor knows, and refuses the others in words.
"""
_MODEL_FIELDS = frozenset(
    {
        *("model", "model_id", "api_key", "base_url", "small_model"),
        *("protocol", "api_format", "wire_api", "provider", "max_output_tokens", "context_window"),
    }
)
"""What stands beside variables in a bot's `env` and is none."""
_DATA_URL = re.compile(r"data:(image/[a-z0-9.+-]+);base64,(.+)", re.DOTALL)
_PLACEHOLDER = re.compile(r"\$\{[^}]*\}")
_MAX_NAME = 100
_MAX_TITLE = 80
_MAX_URL = 2_000
_MAX_ID = 2**63 - 1


class TaskIds(Struct, frozen=True):
    """Which turn of which task a payload is about. `subtask_id` may be missing in a cancel."""

    task_id: int
    subtask_id: int | None


def task_ids(payload: object) -> TaskIds | None:
    """The ids in a payload of any kind; None where there is no usable task id."""
    body = fields_of(payload)
    task_id = positive(body.get("task_id"))
    return None if task_id is None else TaskIds(task_id, positive(body.get("subtask_id")))


def envelope(payload: object) -> Json:
    """So much of a payload as it takes to say no to it."""
    body = fields_of(payload)
    ids = {name: positive(body.get(name)) for name in ("task_id", "subtask_id", "message_id")}
    bot = first_of(body.get("bot"))
    shell = text_of(bot.get("shell_type"))[:_MAX_NAME]
    user_id = positive(fields_of(body.get("user")).get("id")) or positive(body.get("user_id"))
    return {
        **ids,
        "user_id": user_id,
        "bot": [{"id": positive(bot.get("id")), "shell_type": shell}],
    }


def request_key(origin: str, task_id: int, subtask_id: int) -> str:
    """The name of one turn of one task on one server."""
    return f"{origin}/task/{task_id}/subtask/{subtask_id}"


def parse_execute(
    payload: object,
    origin: str,
    account: str | None = None,
    agent: str | None = None,
    *,
    server: str = "",
    token: str = "",
) -> tuple[RunRequest, ExecutorError | None]:
    """The request in a `task:execute` of `origin`, and why it cannot be done, if so.

    It belongs to `account`, the login it came under; where that is unknown, to the task's user.
    `agent` answers in place of the one that the task asks for. What the task brings is fetched from
    `server`, the configured one: the `backend_url` in a payload is an address inside the server's
    own network. `token` opens it where the task has none of its own.
    Raises ValueError where there are no ids: then nobody could be answered.
    """
    body = fields_of(payload)
    ids = task_ids(body)
    if ids is None or ids.subtask_id is None:
        raise ValueError("a task:execute without task_id and subtask_id")
    bot = first_of(body.get("bot"))
    shell = (text_of(bot.get("shell_type")) or "ClaudeCode")[:_MAX_NAME]
    words, images = _prompt(body.get("prompt"))
    words = with_form_answer(words, body)
    materials, problem = _materials(body, server, token)
    profile, unknown_profile = read_profile(body)
    problem = problem or unknown_profile
    asked = SHELLS.get(shell.lower(), shell.lower())
    if problem is None and not words.strip() and not images:
        problem = ExecutorError("prompt_empty")
    user = fields_of(body.get("user"))
    account = account or str(positive(user.get("id")) or positive(body.get("user_id")) or "")
    mcp = read_mcp_servers(body, server=server)
    request = RunRequest(
        source=Source.DEVICE,
        request_key=request_key(origin, ids.task_id, ids.subtask_id),
        conversation_key=f"{origin}/task/{ids.task_id}/bot/{bot.get('id') or 0}",
        address=f"{origin}#{account}" if account else origin,
        reply_to={
            "task_id": ids.task_id,
            "subtask_id": ids.subtask_id,
            "message_id": positive(body.get("message_id")),
            "shell_type": shell,
            **profile,
        },
        agent=agent or asked,
        title=text_of(body.get("task_title")) or _first_line(words),
        task_id=ids.task_id,
        subtask_id=ids.subtask_id,
        prompt=words,
        images=images,
        model=_model(body.get("model_config"), fields_of(bot.get("agent_config"))),
        system_prompt=text_of(body.get("system_prompt")) or text_of(bot.get("system_prompt")),
        new_session=body.get("new_session") is True,
        permission=claude_mode(body, asked),
        workspace=read_workspace(body, ids.task_id),
        materials=materials,
        mcp_servers=mcp.servers,
        remarks=mcp.notices,
        other_secrets=mcp.secrets,
        variables=repository_variables(body),
        members=read_members(body),
        inherited_session=inherited_session(body, bot),
    )
    return request, problem


def _materials(body: Json, server: str, token: str) -> tuple[Materials, ExecutorError | None]:
    """What the task brings, and the first of its fields that is wrong, if one is."""
    try:
        return read_materials(body, server=server, token=token), check_shapes(body)
    except ExecutorError as error:
        return Materials(), error


def _prompt(prompt: object) -> tuple[str, tuple[Image, ...]]:
    """A plain string, or a list of text and image blocks (servers from v1.5)."""
    if isinstance(prompt, str):
        return prompt, ()
    words: list[str] = []
    images: list[Image] = []
    for block in prompt if isinstance(prompt, list) else ():
        if isinstance(block, str):
            words.append(block)
        elif isinstance(block, dict) and "image" in str(block.get("type")):
            _add_image(block, words, images)
        elif isinstance(block, dict):
            words.append(text_of(block.get("text")))
    return "\n".join(filter(None, words)), tuple(images)


def _first_line(words: str) -> str:
    """What a task without a title is about: the newest servers send none."""
    line = next((line for line in map(str.strip, words.splitlines()) if line), "")
    return line if len(line) <= _MAX_TITLE else line[: _MAX_TITLE - 1] + "…"


def _add_image(block: Json, words: list[str], images: list[Image]) -> None:
    url = block.get("image_url")
    url = text_of(url.get("url")) if isinstance(url, dict) else text_of(url)
    if (found := _DATA_URL.fullmatch(url)) is not None:
        images.append(Image(media_type=found[1], data=found[2]))
    elif url:
        words.append(f"[image: {url[:_MAX_URL]}]")


def _model(config: object, agent_config: Json) -> ModelConfig:
    """`model_config` where there is one (resolved by the server), else the bot's own `env`.

    Servers from v1.5 leave the key in `agent_config.env` encrypted, so it counts only without a
    `model_config`, even an empty one. A model without a name means: the login and the default of
    the user.
    """
    env = fields_of(agent_config.get("env"))
    source = config if isinstance(config, dict) else env
    if not source.get("model") and not source.get("model_id"):
        return ModelConfig()
    # The task may override the model by one of another vendor, of which the bot says nothing.
    is_the_bots = env.get("model") == source.get("model")
    headers = fields_of(source.get("default_headers"))
    extra = {name: value for name, value in env.items() if name not in _MODEL_FIELDS}
    return ModelConfig(
        model=text_of(source.get("model_id")) or None,
        small_model=text_of(source.get("small_model") or env.get("small_model")) or None,
        api_key=_PLACEHOLDER.sub("", text_of(source.get("api_key"))) or None,
        base_url=text_of(source.get("base_url")) or None,
        protocol=_protocol(agent_config | source if is_the_bots else source),
        headers={str(name): str(value) for name, value in headers.items() if value is not None},
        env={name: str(v) for name, v in extra.items() if isinstance(v, str | int | float)},
    )


def _protocol(source: Json) -> str | None:
    """What the model service speaks, if somebody says it."""
    said = text_of(source.get("protocol"))
    said = "anthropic" if said == "claude" else said
    has_responses = "responses" in (source.get("api_format"), source.get("wire_api"))
    return "openai-responses" if has_responses and said in ("", "openai") else said or None
