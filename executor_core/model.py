"""The nouns every room shares: a request, the events of its run, its one outcome.

Frozen values only; nothing here does anything, and of ours only `Message` is imported.
"""

from __future__ import annotations

import re
import secrets
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeAlias

from msgspec import Struct, field

from executor_core.texts import Message

_SECRET_NAME = re.compile(
    "AUTH(?!OR(?!I[SZ]))|COOKIE|CREDENTIAL|KEY|PASSWORD|SECRET|TOKEN",  # authors are no secret
    re.IGNORECASE,
)
_PLAIN_HEADERS = frozenset(
    f"{group}{name}"
    for group, names in {
        "": ("accept", "accept-encoding", "accept-language", "content-type", "user-agent"),
        "anthropic-": ("beta", "version"),
        "openai-": ("beta",),
    }.items()
    for name in names
)


class Value(Struct, kw_only=True, frozen=True, omit_defaults=True):
    """Base of the values below: immutable, built by keyword, compact as JSON."""


class Source(StrEnum):
    """The front door a request came through."""

    DEVICE = "device"
    RUNNER = "runner"
    API = "api"


class RunState(StrEnum):
    """Where a run stands. The last three are final."""

    QUEUED = "queued"
    PREPARING = "preparing"
    RUNNING = "running"
    STOPPING = "stopping"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in (RunState.COMPLETED, RunState.FAILED, RunState.CANCELLED)


def new_run_id() -> str:
    """A run id nobody can guess (128 bits)."""
    return f"run_{secrets.token_hex(16)}"


# --- what is asked -----------------------------------------------------------------------------


_ACCESS_VARIABLE = re.compile(
    r"(ANTHROPIC|AWS|AZURE|CLAUDE_CODE|CODEX|OPENAI|VERTEX)_(\w+_)?"
    r"(API_KEY|(AUTH|OAUTH|BEARER)_TOKEN\w*|BASE_URL|API_BASE|API_HOST|API_URL|ENDPOINT|CUSTOM_HEADERS)",
    re.IGNORECASE,
)
"""A key for a model, or where it is asked: in whatever spelling an agent or a library reads it."""


class ModelConfig(Value, kw_only=True, frozen=True):
    """The model a task brings. All empty: the user's own login and the agent's own default.

    A configuration that names a key or a base URL replaces the user's whole group of settings for
    that vendor; the two are never mixed. `protocol` is what the service speaks, where that is
    known: `anthropic`, `openai` (chat completions), `openai-responses` or `gemini`.
    """

    model: str | None = None
    small_model: str | None = None
    api_key: str | None = None
    base_url: str | None = None
    protocol: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)

    @property
    def brings_access(self) -> bool:
        """True if the task pays for the model itself, so that the user's login must not be used."""
        named_in_env = any(
            value and _ACCESS_VARIABLE.fullmatch(name) for name, value in self.env.items()
        )
        return bool(self.api_key or self.base_url or named_in_env)

    def __repr__(self) -> str:
        return f"ModelConfig(model={self.model!r}, brings_access={self.brings_access})"


class Image(Value, kw_only=True, frozen=True):
    """A picture inside a prompt. `path`: it lies there as a file too, and the prompt says so."""

    media_type: str
    data: str
    """Base64."""
    path: str = ""


class TaskFolder(Value, kw_only=True, frozen=True, tag="task"):
    """A folder of the task's own below the workspace root; made when missing."""

    name: str


class Folder(Value, kw_only=True, frozen=True, tag="folder"):
    """An existing folder of the user's.

    It must lie in a trusted root, except where the owner of this computer named it in person.
    """

    path: str
    is_owners_choice: bool = False


class GitCredential(Value, kw_only=True, frozen=True):
    """A login to one git server. The token is a secret: never printed, logged or kept on disk.

    `host` is the server it belongs to, as accounts name it: `github.com`, `host:8443`, or with a
    scheme. `token` is as it came: plain or encrypted; empty and `***` mean that there is none.
    """

    host: str
    token: str
    login: str = ""

    def __repr__(self) -> str:
        return f"GitCredential(host={self.host!r}, login={self.login!r})"


class GitAuthor(Value, kw_only=True, frozen=True):
    """In whose name commits are made."""

    name: str
    email: str


class GitClone(Value, kw_only=True, frozen=True, tag="git"):
    """A clone of `url` inside the task's folder, in a folder named after the repository.

    `place` is that folder itself, where the task names one, under the rules of `Folder`.
    """

    task_folder: str
    url: str
    place: str = ""
    branch: str | None = None
    repo_name: str | None = None
    credential: GitCredential | None = None
    author: GitAuthor | None = None

    def __repr__(self) -> str:
        # A URL may carry a password.
        return f"GitClone({self.task_folder!r}, branch={self.branch!r})"


Workspace: TypeAlias = TaskFolder | Folder | GitClone


class Attachment(Value, kw_only=True, frozen=True):
    """A file that a person put beside the prompt. `name` is as it came, so it may be anything.

    `subtask_id` is the turn that it was sent with, where the server says so.
    """

    id: int
    name: str = ""
    subtask_id: int | None = None
    size_bytes: int | None = None
    media_type: str = ""


class SkillRef(Value, kw_only=True, frozen=True):
    """A skill on the server. Without `skill_id` the server is asked for it by name.

    `version` changes when the skill does, where the server says so.
    """

    name: str
    namespace: str = "default"
    skill_id: int | None = None
    version: str = ""


class TaskFiles(Value, kw_only=True, frozen=True):
    """What a task brings besides words, to be fetched from `server` before the agent starts.

    `token` opens it: a secret that is never printed, logged or kept on disk, and that no other host
    gets. `preferred_skills` are the names of those that the person picked for this message.
    """

    server: str = ""
    token: str = ""
    attachments: tuple[Attachment, ...] = ()
    skills: tuple[SkillRef, ...] = ()
    preferred_skills: tuple[str, ...] = ()

    def __repr__(self) -> str:
        ids = [attachment.id for attachment in self.attachments]
        names = [skill.name for skill in self.skills]
        return f"TaskFiles({self.server!r}, attachments={ids}, skills={names})"


class Member(Value, kw_only=True, frozen=True):
    """An agent that the one who is asked may hand work to. `name`: letters, digits and dashes."""

    name: str
    description: str
    prompt: str


class Permission(StrEnum):
    """What the agent may do without asking, the strictest first.

    `plan` and `auto` are Claude Code's own modes: look and plan only, and whatever its own check
    of each step lets through.
    """

    READ_ONLY = "read_only"
    PLAN = "plan"
    WORKSPACE_WRITE = "workspace_write"
    AUTO = "auto"
    UNATTENDED = "unattended"


def strictest(*permissions: Permission) -> Permission:
    """The one that allows least."""
    return min(permissions, key=list(Permission).index)


class Limits(Value, kw_only=True, frozen=True):
    """How long a run may take, in seconds."""

    total_s: float = 24 * 3600.0
    silence_warning_s: float = 30 * 60.0


class RunRequest(Value, kw_only=True, frozen=True):
    """One thing to do, as any door asks for it.

    `request_key` is the door's own name of what was asked (for the device: server, task, subtask);
    two requests with one key are the same request until its outcome was delivered. `reply_to` is
    read by that door alone and must hold no secret: it is kept on disk to answer after a restart.
    `address` is the server and account that the outcome belongs to; None means nobody waits for it.
    `mcp_servers` by name: `type` is `stdio` (with `command`, `args`, `env`), `http` or `sse` (both
    with `url`, `headers`). `remarks` are what the person is told first, such as what was left out.
    `other_secrets` stand in it where their place does not tell that they are secret. `variables`
    are told to the agent's programs. `inherited_session`: what the agent calls the conversation
    that a new one goes on from, leaving the old as it is. `session_id`: what it calls the one to go
    on with, where the server keeps that itself; else it is the last one of `conversation_key`.
    """

    run_id: str = field(default_factory=new_run_id)
    source: Source
    request_key: str
    agent: str
    prompt: str
    workspace: Workspace
    conversation_key: str
    reply_to: dict[str, Any] = field(default_factory=dict)
    address: str | None = None
    title: str = ""
    task_id: int | None = None
    subtask_id: int | None = None
    images: tuple[Image, ...] = ()
    model: ModelConfig = ModelConfig()
    system_prompt: str = ""
    new_session: bool = False
    mcp_servers: dict[str, dict[str, Any]] = field(default_factory=dict)
    task_files: TaskFiles = TaskFiles()
    remarks: tuple[Notice, ...] = ()
    permission: Permission = Permission.UNATTENDED
    limits: Limits = Limits()
    extra_args: tuple[str, ...] = ()
    other_secrets: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)
    members: tuple[Member, ...] = ()
    inherited_session: str | None = None
    session_id: str | None = None

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be seen of this request: keys, tokens, and what servers of tools want."""
        found = [self.model.api_key or "", self.task_files.token, *self.other_secrets]
        for name, value in self.model.headers.items():
            # Gateways take keys under any name but those that say how to speak.
            if name.lower() not in _PLAIN_HEADERS:
                found += _seen_alone(name, value)
        named: list[object] = [self.model.env]
        if isinstance(self.workspace, GitClone) and self.workspace.credential is not None:
            found.append(self.workspace.credential.token)
        for server in self.mcp_servers.values():
            named += [server.get("headers"), server.get("env")]
        for values in named:
            found += secret_values(values)
        return tuple(value for value in found if value)

    def __repr__(self) -> str:
        return f"RunRequest({self.run_id}, {self.source}, {self.request_key!r}, {self.agent})"


def secret_values(values: object) -> list[str]:
    """The values whose names say that they are secret, and what of each may be seen alone."""
    found = []
    for name, value in values.items() if isinstance(values, dict) else ():
        if isinstance(value, str) and is_secret_name(str(name)):
            found += _seen_alone(str(name), value)
    return found


def _seen_alone(name: str, value: str) -> list[str]:
    found = [value.strip()]
    if "cookie" in name.lower():
        found += [pair.partition("=")[2].strip(' "') for pair in value.split(";")]
    elif len(words := value.split()) == 2:
        found.append(words[1])  # behind a scheme, such as Bearer
    return found


def is_secret_name(name: str) -> bool:
    """Whether what goes by that name must not be shown."""
    return _SECRET_NAME.search(name) is not None


# --- what is answered --------------------------------------------------------------------------


class Usage(Value, kw_only=True, frozen=True):
    """What the model was charged for. `cost_usd` only where the agent knows real prices."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost_usd: float | None = None


class Artifact(Value, kw_only=True, frozen=True):
    """A file that the run produced for its requester."""

    name: str
    path: str
    size_bytes: int


class Timings(Value, kw_only=True, frozen=True):
    """When things happened; wall time, UTC."""

    accepted_at: datetime
    started_at: datetime | None = None
    first_text_at: datetime | None = None
    finished_at: datetime


class Outcome(Value, kw_only=True, frozen=True):
    """The one end of a run. `text` is all the agent said, also when it failed or was cancelled."""

    state: RunState
    text: str = ""
    error: Message | None = None
    usage: Usage | None = None
    session_id: str | None = None
    artifacts: tuple[Artifact, ...] = ()
    timings: Timings


# --- agents ------------------------------------------------------------------------------------


class Availability(Value, kw_only=True, frozen=True):
    """Whether an agent can work on this computer, and if not, why and what to do.

    `login` names the login or key that is in use, never the key itself. `remark` is a word about
    one that is used all the same. `variables` are the names of what it gets of the owner's
    environment, beyond what every program gets.
    """

    name: str
    title: str
    is_usable: bool
    path: str | None = None
    version: str | None = None
    login: str | None = None
    minimum_version: str | None = None
    problem: Message | None = None
    remark: str | None = None
    variables: tuple[str, ...] = ()


class AgentOffer(Value, kw_only=True, frozen=True, omit_defaults=False):
    """What an agent says of itself when it is asked.

    `modes` are the ids of what it may be allowed, `logins` the names of its ways to sign in.
    `needs_login` is None where no session could be tried; `refusal` is then what it answered.
    """

    version: str | None = None
    resumes: bool = False
    takes_images: bool = False
    modes: tuple[str, ...] = ()
    logins: tuple[str, ...] = ()
    needs_login: bool | None = None
    refusal: str | None = None


class Resources(Value, kw_only=True, frozen=True, omit_defaults=False):
    """What the process tree of a run uses now. `cpu_s` includes children that have ended."""

    rss_bytes: int
    cpu_s: float
    processes: int


# --- links -------------------------------------------------------------------------------------


class LinkState(StrEnum):
    """Where a link stands. `rejected`: the user must act; `stopped`: it was told to end."""

    CONNECTING = "connecting"
    ONLINE = "online"
    OFFLINE = "offline"
    REJECTED = "rejected"
    STOPPED = "stopped"


KEYCHAIN = "keychain"
"""Why a link is offline before it began: a locked keychain has its token."""
TWIN = "twin"
"""Why a link is rejected although its token is good: another home has the id of this device."""


class LinkStatus(Value, kw_only=True, frozen=True, omit_defaults=False):
    """A link as people see it. `reason` is a sentence, for some reasons `code` is its stable name;
    `next_attempt_in_s` counts from now.

    `token_warning_h` is 48, 24 or 1 when the token ends within so many hours, and 0 once it ended.
    """

    kind: str
    state: LinkState
    server: str
    since: datetime
    dialect: str | None = None
    reason: str | None = None
    code: str | None = None
    next_attempt_in_s: float | None = None
    token_expires_at: datetime | None = None
    token_warning_h: int | None = None


# --- what happens in between -------------------------------------------------------------------


class Event(Value, kw_only=True, frozen=True, tag_field="kind"):
    """Base of all events of a run. `seq` counts from 1 without gaps; both are set by the recorder.

    `raw` is the agent's own event, capped, for doors that forward it.
    """

    seq: int = 0
    at: datetime | None = None
    raw: dict[str, Any] | None = None


class RunStarted(Event, kw_only=True, frozen=True, tag="run_started"):
    """The agent is about to be started in `folder`."""

    agent: str
    folder: str


class SessionStarted(Event, kw_only=True, frozen=True, tag="session"):
    """The agent named its resumable conversation."""

    session_id: str
    model: str | None = None


class TextDelta(Event, kw_only=True, frozen=True, tag="text_delta"):
    """More of the answer; all of them together are the outcome's text (but see AgentResult)."""

    text: str


class ReasoningDelta(Event, kw_only=True, frozen=True, tag="reasoning_delta"):
    """More of what the model thinks before it answers."""

    text: str


class ToolStarted(Event, kw_only=True, frozen=True, tag="tool_started"):
    """The agent uses a tool."""

    call_id: str
    name: str
    input: dict[str, Any] = field(default_factory=dict)


class ToolFinished(Event, kw_only=True, frozen=True, tag="tool_finished"):
    """A tool came back. `output` is cut to a stated size."""

    call_id: str
    output: str
    is_error: bool = False


class FileChanged(Event, kw_only=True, frozen=True, tag="file_changed"):
    """The agent says that it changed a file."""

    path: str
    change: str


class UsageReported(Event, kw_only=True, frozen=True, tag="usage"):
    """Totals so far."""

    usage: Usage


class Notice(Event, kw_only=True, frozen=True, tag="notice"):
    """Something the person should see that is not part of the answer (a retry, a fallback)."""

    code: str
    text: str


class RawEvent(Event, kw_only=True, frozen=True, tag="raw"):
    """One event of the agent's own, as it wrote it, whatever it means; only `raw` counts.

    Agents that tell these tell them for every line. What a line means follows as events without.
    """


class AgentResult(Event, kw_only=True, frozen=True, tag="result"):
    """The agent's own last word. Once it is seen, a cancel comes too late.

    `final_text` is the agent's own summary; it stands in for the outcome's text only where nothing
    was streamed. With `replaces_text` it is the whole answer instead: something that was streamed
    does not belong to it.
    """

    final_text: str = ""
    replaces_text: bool = False
    error: Message | None = None
    usage: Usage | None = None

    def answer(self, streamed: str) -> str:
        """The text of the outcome, given all that was streamed."""
        return self.final_text if self.replaces_text else streamed or self.final_text


class RunEnded(Event, kw_only=True, frozen=True, tag="run_ended"):
    """The last event of every run."""

    outcome: Outcome


AgentEvent: TypeAlias = (
    RunStarted
    | SessionStarted
    | TextDelta
    | ReasoningDelta
    | ToolStarted
    | ToolFinished
    | FileChanged
    | UsageReported
    | Notice
    | RawEvent
    | AgentResult
    | RunEnded
)
