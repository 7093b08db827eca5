"""What Codex tells of the tools that it uses and of its failures, in our words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from datetime import datetime
from typing import Any, ClassVar

import msgspec
from msgspec import Struct

from executor_core.agents.answer import Denied, cut_output
from executor_core.agents.failures import (
    code_in,
    code_of_name,
    code_of_status,
    failure,
    moment,
    notice,
)
from executor_core.agents.json_access import Json, as_dict, as_dicts, as_int, as_str, read, read_all
from executor_core.model import (
    AgentEvent,
    FileChanged,
    ModelConfig,
    Notice,
    ToolFinished,
    ToolStarted,
)
from executor_core.texts import Message, text

TITLE = "Codex"


class _Tool(Struct, rename="camel"):
    """The use of a tool: its name, what it is given, and what comes of it."""

    called: ClassVar[str] = ""
    id: str = ""
    status: str = ""

    @property
    def name(self) -> str:
        return self.called

    @property
    def input(self) -> Json:
        raise NotImplementedError

    @property
    def output(self) -> str:
        return ""

    @property
    def changed_files(self) -> list[FileChanged]:
        return []


class _Command(_Tool):
    command: str = ""
    cwd: Any = None
    aggregated_output: str = ""
    exit_code: Any = None
    called = "shell"

    @property
    def input(self) -> Json:
        return {"command": _unwrapped(self.command), "cwd": self.cwd}

    @property
    def output(self) -> str:
        words = self.aggregated_output
        return f"Exit code {self.exit_code}\n{words}" if self.exit_code else words


class _ChangeKind(Struct):
    type: Any = None
    move_path: str | None = None


class _Change(Struct):
    path: str = ""
    diff: str = ""
    kind: Any = None
    """A _ChangeKind."""

    @property
    def shown(self) -> Json:
        kind = read(_ChangeKind, self.kind).type
        return {"path": self.path, "kind": kind, "diff": cut_output(self.diff)}

    @property
    def files(self) -> list[FileChanged]:
        kind = read(_ChangeKind, self.kind)
        match kind.type, kind.move_path:
            case "add", _:
                return [FileChanged(path=self.path, change="written")]
            case "delete", _:
                return [FileChanged(path=self.path, change="deleted")]
            case _, str(target):
                gone = FileChanged(path=self.path, change="deleted")
                return [gone, FileChanged(path=target, change="written")]
        return [FileChanged(path=self.path, change="edited")]


class _Patch(_Tool):
    changes: Any = None
    called = "apply_patch"

    @property
    def input(self) -> Json:
        return {"changes": [change.shown for change in read_all(_Change, self.changes)]}

    @property
    def output(self) -> str:
        return "\n".join(f"{file.change} {file.path}" for file in self.changed_files)

    @property
    def changed_files(self) -> list[FileChanged]:
        return [file for change in read_all(_Change, self.changes) for file in change.files]


class _McpCall(_Tool):
    server: Any = None
    tool: Any = None
    arguments: dict[str, Any] = {}
    error: Any = None
    result: Any = None

    @property
    def name(self) -> str:
        return f"mcp__{self.server}__{self.tool}"

    @property
    def input(self) -> Json:
        return self.arguments

    @property
    def output(self) -> str:
        if error := as_str(as_dict(self.error).get("message")):
            return error
        content = as_dicts(as_dict(self.result).get("content"))
        return "\n".join(as_str(part.get("text")) for part in content)


class _Search(_Tool):
    query: Any = None
    called = "web_search"

    @property
    def input(self) -> Json:
        return {"query": self.query}


class _View(_Tool):
    path: Any = None
    called = "view_image"

    @property
    def input(self) -> Json:
        return {"path": self.path}


class _SubAgent(_Tool):
    tool: Any = None
    prompt: Any = None
    called = "sub_agent"

    @property
    def input(self) -> Json:
        return {"action": self.tool, "prompt": self.prompt}


_TOOLS: dict[str, type[_Tool]] = {
    "commandExecution": _Command,
    "fileChange": _Patch,
    "mcpToolCall": _McpCall,
    "webSearch": _Search,
    "imageView": _View,
    "collabAgentToolCall": _SubAgent,
}
"""By the `type` of an item; one that is not here is no use of a tool."""


def _tool(item: Json) -> _Tool | None:
    kind = _TOOLS.get(as_str(item.get("type")))
    return read(kind, item) if kind is not None else None


class Tools:
    """The tools in use. Every start has its end, even where Codex tells only one of them."""

    def __init__(self) -> None:
        self._running: set[str] = set()
        self._awaited: set[str] = set()
        self.denied = Denied()

    @property
    def are_awaited(self) -> bool:
        """Whether the model waits for one, so that its silence means nothing."""
        return bool(self._awaited)

    def model_speaks(self) -> None:
        """What still runs was handed back to the model as running: it is not waited for."""
        self._awaited.clear()

    def started(self, item: Json) -> Iterator[AgentEvent]:
        """Nothing for an item that is no use of a tool."""
        if (tool := _tool(item)) is not None:
            yield self._started(tool)

    def _started(self, tool: _Tool) -> ToolStarted:
        self._running.add(tool.id)
        self._awaited.add(tool.id)
        return ToolStarted(call_id=tool.id, name=tool.name, input=tool.input)

    def finished(self, item: Json) -> Iterator[AgentEvent]:
        """The end of a use, and the files that it changed."""
        if (tool := _tool(item)) is None:
            return
        if tool.status == "declined":
            self.denied.add(tool.name)
        if tool.id not in self._running:
            yield self._started(tool)
        self._running.discard(tool.id)
        self._awaited.discard(tool.id)
        is_error = tool.status in ("failed", "declined")
        yield ToolFinished(call_id=tool.id, output=cut_output(tool.output), is_error=is_error)
        if not is_error:
            yield from tool.changed_files

    def close(self) -> Iterator[AgentEvent]:
        """The turn is over: a command that still runs is cut off, and what was denied is said."""
        for call_id in sorted(self._running):
            output = text("agent.codex.tool_cut")
            yield ToolFinished(call_id=call_id, output=output, is_error=True)
        self._running.clear()
        self._awaited.clear()
        yield from self.denied.notices()


def _unwrapped(command: str) -> str:
    """What the model wrote, without the shell that Codex puts around it."""
    try:
        parts = shlex.split(command)
    except ValueError:
        return command
    return parts[2] if len(parts) == 3 and parts[1] in ("-c", "-lc") else command


LOST_SESSIONS = ("no rollout found", "invalid session id")
_BROKEN_OFF = "stream disconnected before completion: "
# What Codex says around the sentence of the model service.
_FRAMES = re.compile(
    rf"(?:unexpected status \d+ [^:]*: |{_BROKEN_OFF})(?P<sentence>.+?)(?:, url: \S+)?", re.DOTALL
)
_KNOWN_STATUSES = {
    "unauthorized": 401,
    "modelNotFound": 404,
    "badRequest": 400,
    "rateLimitExceeded": 429,
    "internalServerError": 500,
    "serverOverloaded": 503,
}
"""What the model service answered where Codex tells its own name of the failure instead."""
_UNREACHABLE = "Connection failed"
_SAYINGS = (
    (_UNREACHABLE, "model_unreachable"),
    (_BROKEN_OFF, "model_broke_off"),
    ("Incomplete response returned, reason: max_output_tokens", "agent_stopped_early"),
    ("Incomplete response returned, reason: content_filter", "model_policy"),
)
"""How Codex begins its own sentences about failures that have no name in 0.171."""
_OF_A_LIMIT = ("model_usage_limit", "model_rate_limited")


def task_key(model: ModelConfig) -> str | None:
    return model.api_key or model.env.get("OPENAI_API_KEY")


def clean(words: str, model: ModelConfig) -> str:
    """The sentence in `words`, without the task's secrets.

    A model service may repeat a key that it refuses.
    """
    for secret in filter(None, (task_key(model), *model.headers.values())):
        words = words.replace(secret, "…")
    framed = _FRAMES.fullmatch(words)
    return framed["sentence"] if framed else words


def turn_failure(
    error: Json, model: ModelConfig, otherwise: str = "", resets_at: datetime | None = None
) -> Message:
    """Why a turn failed; `otherwise` where Codex does not say. `codex exec` names no kind.

    `resets_at` is when the limits of the account are reset, if one of them is used up.
    """
    said, kind = as_str(error.get("message")), error.get("codexErrorInfo")
    words = clean(said or otherwise, model)
    status = status_in(kind) or _status_said(said) or _KNOWN_STATUSES.get(as_str(kind))
    if (sentence := _api_sentence(words)) is not None:
        words, status = sentence, status or 400  # of no other status is the answer passed on as is
    code = (
        code_of_name(kind)
        or (code_of_status(status, words) if status else None)
        or next(
            (code for start, code in _SAYINGS if words.startswith(start) or said.startswith(start)),
            None,
        )
        or code_in(words)
        or "agent_failed"
    )
    return failure(
        code,
        agent=TITLE,
        status=status or text("acp.answered_with_error"),
        reason=words,
        retry_at=resets_at if code in _OF_A_LIMIT else None,
    )


class RateLimits:
    """The limits of the user's account with the vendor, as Codex tells them in between.

    An update is sparse: what it does not tell is as it was. Times are seconds since 1970.
    """

    def __init__(self) -> None:
        self._windows: dict[str, Json] = {}

    def told(self, limits: Json) -> None:
        for name in ("primary", "secondary"):
            if window := as_dict(limits.get(name)):
                self._windows[name] = window

    @property
    def resets_at(self) -> datetime | None:
        """When all that is used up is there again; None where nothing is, or nobody says when."""
        used_up = [w for w in self._windows.values() if as_int(w.get("usedPercent")) >= 100]
        times = [time for window in used_up if (time := moment(window.get("resetsAt")))]
        return max(times, default=None)


def retry(error: Json, model: ModelConfig) -> Notice:
    """Codex tries once more; its words are `Reconnecting... 1/5`, maybe with a reason."""
    words = as_str(error.get("message"))
    attempt, attempts = [*re.findall(r"\d+", words), "?", "?"][:2]
    inside = re.search(r"\((.+)\)\s*$", words, re.DOTALL)
    reason = as_str(error.get("additionalDetails")) or (inside[1] if inside else words)
    status = status_in(error.get("codexErrorInfo")) or _status_said(reason)
    reason = clean(reason, model)
    if status is not None:
        key = "notice.model_retry"
    elif _is_unreachable(reason):
        key = "notice.model_unreachable"
    else:
        key = "notice.model_broken_off"
    counts = {"attempt": attempt, "attempts": attempts}
    return notice(key, code="model_retry", status=status, reason=reason, **counts)


def _api_sentence(words: str) -> str | None:
    """The sentence in `words`, if these are an error body of the API."""
    try:
        body = as_dict(msgspec.json.decode(words))
    except msgspec.DecodeError:
        return None
    sentence = as_dict(body.get("error")).get("message") or body.get("detail")
    return sentence if isinstance(sentence, str) else None


def status_in(kind: object) -> int | None:
    """The HTTP status inside `{"httpConnectionFailed": {"httpStatusCode": 401}}`."""
    for details in as_dict(kind).values():
        if isinstance(status := as_dict(details).get("httpStatusCode"), int):
            return status
    return None


def _status_said(words: str) -> int | None:
    """The HTTP status in `unexpected status 401 Unauthorized: …`, or behind `last status: `."""
    if "currently experiencing high demand" in words:
        return 500  # Codex's own words, in place of what the service said
    found = re.match(r"(?:unexpected status|exceeded retry limit, last status:) (\d{3})\b", words)
    return int(found[1]) if found else None


def _is_unreachable(words: str) -> bool:
    return words.startswith(_UNREACHABLE)
