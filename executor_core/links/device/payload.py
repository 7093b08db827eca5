"""Reads a server's `task:execute`, of every generation, into one RunRequest.

Purely structural: which generation sent it does not matter, only which fields are there. Unknown
fields are ignored, null and missing mean the same, and what cannot be used is refused in words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit, urlunsplit

from msgspec import Struct
from msgspec.structs import replace

from executor_core.errors import ExecutorError
from executor_core.links.device.fields import (
    Json,
    check_shapes,
    field_wrong,
    fields_of,
    first_of,
    items_of,
    positive,
    text_of,
)
from executor_core.links.device.frames import encode
from executor_core.links.device.mcp import read_mcp_servers
from executor_core.model import (
    Attachment,
    Folder,
    GitAuthor,
    GitClone,
    GitCredential,
    Image,
    Member,
    ModelConfig,
    Permission,
    RunRequest,
    SkillRef,
    Source,
    TaskFiles,
    TaskFolder,
    Workspace,
    strictest,
)
from executor_core.texts import text

_AGENT_OF_SHELL = {"claudecode": "claude_code"}
"""`bot[].shell_type`, in lower case, where its agent has another name here.

Every other one is taken for the name of an agent: which of them there are, the registry of agents
knows, and refuses the others in words.
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
PROFILE = "profile"
"""Under this name the profile of a run is kept, for the later ones of its conversation."""
_PROFILES = {
    ":read-only": Permission.READ_ONLY,
    ":workspace": Permission.WORKSPACE_WRITE,
    ":danger-full-access": Permission.UNATTENDED,
}
_CLAUDE_MODES = {
    "acceptEdits": Permission.WORKSPACE_WRITE,
    "plan": Permission.PLAN,
    "auto": Permission.AUTO,
}
_VARIABLES = {
    "GIT_DOMAIN": ("git_domain", "gitDomain"),
    "GIT_REPO": ("git_repo", "gitRepo"),
    "GIT_REPO_ID": ("git_repo_id", "gitRepoId"),
    "BRANCH_NAME": ("branch_name", "branchName"),
    "GIT_URL": ("git_url", "gitUrl"),
}
"""What programs of a task are told, and where a task says it: itself, or in `repository`."""
_SESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
MAX_MEMBERS = 20
MAX_NAME = 1_000
_MAX_DESCRIPTION = 500
_MAX_VALUE = 2_000
_MAX_SHELL = 100
_MAX_TITLE = 80
_MAX_URL = 2_000


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
    shell = text_of(bot.get("shell_type"))[:_MAX_SHELL]
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
    shell = (text_of(bot.get("shell_type")) or "ClaudeCode")[:_MAX_SHELL]
    words, images = _prompt(body.get("prompt"))
    words = with_form_answer(words, body)
    task_files, problem = _task_files(body, server, token)
    profile, unknown_profile = read_profile(body)
    problem = problem or unknown_profile
    asked = _AGENT_OF_SHELL.get(shell.lower(), shell.lower())
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
        task_files=task_files,
        mcp_servers=mcp.servers,
        remarks=mcp.notices,
        other_secrets=mcp.secrets,
        variables=repository_variables(body),
        members=read_members(body),
        inherited_session=inherited_session(body, bot),
    )
    return request, problem


def _task_files(body: Json, server: str, token: str) -> tuple[TaskFiles, ExecutorError | None]:
    """What the task brings, and the first of its fields that is wrong, if one is."""
    try:
        return read_task_files(body, server=server, token=token), check_shapes(body)
    except ExecutorError as error:
        return TaskFiles(), error


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


# --- A form's answer ------------------------------------------------------------------------------


def with_form_answer(prompt: str, body: Json) -> str:
    """The prompt, with the answer behind it where it is not in there already.

    `interactive_form_answer` has `status` ("answered" or "cancelled"), `answers` by question id,
    and `message`: the same in words, which servers usually make the prompt of the new turn.
    """
    answer = fields_of(body.get("interactive_form_answer"))
    message = text_of(answer.get("message")).strip()
    if not answer or (prompt.strip() and (not message or message in prompt)):
        return prompt
    kept = {name: answer[name] for name in ("status", "answers") if name in answer}
    return "\n\n".join(filter(None, (prompt, message or encode(kept).decode())))


# --- permissions ----------------------------------------------------------------------------------


def read_profile(body: Json) -> tuple[Json, ExecutorError | None]:
    """What to keep of the profile that the task names; and why it cannot be used, if so.

    One that we do not know may allow less than any that we do, so it is refused.
    """
    named = body.get("runtime_permission_profile") or body.get("runtimePermissionProfile")
    if not named:
        return {}, None
    if text_of(named) not in _PROFILES:
        return {}, field_wrong("runtime_permission_profile", ", ".join(_PROFILES))
    return {PROFILE: named}, None


def claude_mode(body: Json, asked: str) -> Permission:
    """Claude Code's own mode, where a task for it names one; other agents have none of these.

    It holds for whichever agent answers in its place too: somebody allowed no more.
    """
    mode = text_of(body.get("claude_permission_mode")) if asked == "claude_code" else ""
    return _CLAUDE_MODES.get(mode, Permission.UNATTENDED)


def held_to(request: RunRequest, last: str | None) -> RunRequest:
    """The request under its profile, or else the last one of its conversation.

    The stricter of the profile and the agent's own mode counts.
    """
    profile = request.reply_to.get(PROFILE) or last
    if profile not in _PROFILES:
        return request
    permission = strictest(request.permission, _PROFILES[profile])
    return replace(request, permission=permission)


# --- team -----------------------------------------------------------------------------------------


def read_members(body: Json) -> tuple[Member, ...]:
    """The bots behind the first, whom that one may hand work to, in a team that is coordinated.

    In other teams the server asks one bot after the other.
    """
    if text_of(body.get("mode")) != "coordinate":
        return ()
    bots = [fields_of(bot) for bot in items_of(body.get("bot"))]
    return tuple(_members(bots[1 : MAX_MEMBERS + 1]))


def _members(bots: Iterable[Json]) -> Iterable[Member]:
    for number, bot in enumerate(bots, start=1):
        name = text_of(bot.get("name")).strip()
        prompt = text_of(bot.get("system_prompt")).strip()
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60]
        # The id, because names in Chinese have no letters, and two may be alike.
        unique = f"{slug or 'member'}-{positive(bot.get('id')) or f'n{number}'}"
        first_line = prompt.partition("\n")[0]
        described = text_of(bot.get("description")) or text_of(bot.get("role")) or first_line
        description = " ".join(f"{name}: {described}".split())[:_MAX_DESCRIPTION]
        yield Member(name=unique, description=description, prompt=prompt or description)


def inherited_session(body: Json, bot: Json) -> str | None:
    """The conversation of Claude Code that a forked task brings (servers from 2026-05).

    The other agents have no way to go on from one without going on in it.
    """
    for entry in map(fields_of, items_of(body.get("inherited_sessions"))):
        agent = re.sub(r"[^a-z]", "", text_of(entry.get("agent")).lower())
        said = positive(entry.get("botId") or entry.get("bot_id"))
        session_id = text_of(entry.get("sessionId")) or text_of(entry.get("session_id"))
        is_for_it = said is None or said == positive(bot.get("id"))
        if agent == "claudecode" and is_for_it and _SESSION.fullmatch(session_id):
            return session_id
    return None


# --- attachments and skills -----------------------------------------------------------------------


def read_task_files(body: Json, *, server: str, token: str) -> TaskFiles:
    """Attachments and skills. The task's own token goes before `token`, that of the connection.

    Raises ExecutorError("task_field_wrong") for an entry that names nothing.
    """
    preferred = tuple(_names(body, "user_selected_skills"))
    return TaskFiles(
        server=server,
        token=text_of(body.get("auth_token")) or token,
        attachments=tuple(_attachments(items_of(body.get("attachments")))),
        skills=tuple(_skills(body, preferred)),
        preferred_skills=preferred,
    )


def _attachments(entries: Iterable[object]) -> Iterable[Attachment]:
    for index, entry in enumerate(entries):
        found = fields_of(entry)
        number = positive(found.get("id"))
        if number is None:
            raise field_wrong(f"attachments[{index}]", text("allowed.attachment"))
        size = found.get("file_size")
        name = text_of(found.get("original_filename")) or text_of(found.get("filename"))
        yield Attachment(
            id=number,
            name=name[:MAX_NAME],
            subtask_id=positive(found.get("subtask_id")),
            size_bytes=positive(size),
            media_type=text_of(found.get("mime_type"))[:MAX_NAME],
        )


def _skills(body: Json, preferred: tuple[str, ...]) -> Iterable[SkillRef]:
    """Every skill that is named anywhere, once; numbers come from the newer servers' references."""
    bot = first_of(body.get("bot"))
    names = [*_names(bot, "skills", "bot[0].")]
    for field in ("skill_names", "preload_skills", "skills"):
        names += _names(body, field)
    references = _references(body, bot)
    namespace = text_of(body.get("team_namespace"))[:MAX_NAME] or "default"
    for name in dict.fromkeys([*names, *preferred]):
        reference = references.get(name, {})
        yield SkillRef(
            name=name,
            namespace=text_of(reference.get("namespace"))[:MAX_NAME] or namespace,
            skill_id=positive(reference.get("skill_id")),
            version=text_of(reference.get("content_hash"))[:MAX_NAME],
        )


def _references(body: Json, bot: Json) -> dict[str, Json]:
    configs = map(fields_of, items_of(body.get("skill_configs")))
    found: dict[str, Json] = {text_of(config.get("name")): config for config in configs}
    for holder, field in ((body, "preload_skill_refs"), (body, "skill_refs"), (bot, "skill_refs")):
        entries = fields_of(holder.get(field)).items()
        found |= {name: fields_of(reference) for name, reference in entries}
    return found


def _names(body: Json, field: str, prefix: str = "") -> Iterable[str]:
    """The names in a list of names, or of objects that have one."""
    for index, entry in enumerate(items_of(body.get(field))):
        name = text_of(entry) or text_of(fields_of(entry).get("name"))
        if not name:
            raise field_wrong(f"{prefix}{field}[{index}]", text("allowed.skill"))
        yield name[:MAX_NAME]


# --- where it works -------------------------------------------------------------------------------


def read_workspace(body: Json, task_id: int) -> Workspace:
    """The folder that the task names (servers from 2026-05), which a repository is cloned into
    where it is empty or missing; else the repository's in the folder of the project or the task.
    """
    place = text_of(body.get("project_workspace_path"))
    url = _said(body, "GIT_URL")
    if url and body.get("skip_git_clone") is not True:
        user = fields_of(body.get("user"))
        project = None if place else positive(body.get("project_id"))
        return GitClone(
            task_folder=f"projects/{project}" if project else str(task_id),
            url=url,
            place=place,
            branch=_said(body, "BRANCH_NAME").strip() or None,
            repo_name=text_of(body.get("git_repo")) or None,
            credential=_git_credential(user),
            author=_git_author(user),
        )
    return Folder(path=place) if place else TaskFolder(name=str(task_id))


def repository_variables(body: Json) -> dict[str, str]:
    """`GIT_URL` and the like, as far as the task says them; never a login inside an address."""
    said = {name: _said(body, name).strip()[:_MAX_VALUE] for name in _VARIABLES}
    said["GIT_URL"] = _without_login(said["GIT_URL"])
    return {name: value for name, value in said.items() if value and value.isprintable()}


def _said(body: Json, name: str) -> str:
    repository = fields_of(fields_of(body.get("workspace")).get("repository"))
    flat, nested = _VARIABLES[name]
    value = body.get(flat) or repository.get(nested) or ""  # an id of 0 is none
    return str(value) if isinstance(value, int) else text_of(value)


def _without_login(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https"):
        return url  # what stands before the @ of an ssh address is no secret
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _git_credential(user: Json) -> GitCredential | None:
    """The user's login to a git server: `git_login` from v1.5, before that `user_name`."""
    token = text_of(user.get("git_token"))
    if not token:
        return None
    login = text_of(user.get("git_login")) or text_of(user.get("user_name"))
    return GitCredential(host=text_of(user.get("git_domain")), token=token, login=login)


def _git_author(user: Json) -> GitAuthor | None:
    """In whose name commits are made; without an address, the vendor's form of a private one."""
    login = text_of(user.get("git_login")) or text_of(user.get("user_name"))
    email = text_of(user.get("git_email"))
    if not email and (git_id := text_of(user.get("git_id"))) and login:
        email = f"{git_id}+{login}@users.noreply.github.com"
    return GitAuthor(name=login, email=email) if login and email else None
