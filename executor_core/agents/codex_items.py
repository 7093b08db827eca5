"""What Codex tells of the tools that it uses and of its failures, in our words."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from datetime import datetime

import msgspec

from executor_core.agents.answer import Denied, cut_output
from executor_core.agents.failures import (
    code_in,
    code_of_name,
    code_of_status,
    failure,
    moment,
    notice,
)
from executor_core.agents.json_access import Json, as_dict, as_dicts, as_int, as_str
from executor_core.model import (
    AgentEvent,
    ErrorInfo,
    FileChanged,
    ModelConfig,
    Notice,
    ToolFinished,
    ToolStarted,
)
from executor_core.texts import text

TITLE = "Codex"


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
            name, tool_input = tool
            call_id = as_str(item.get("id"))
            self._running.add(call_id)
            self._awaited.add(call_id)
            yield ToolStarted(call_id=call_id, name=name, input=tool_input)

    def finished(self, item: Json) -> Iterator[AgentEvent]:
        """The end of a use, and the files that it changed."""
        if (tool := _tool(item)) is None:
            return
        if item.get("status") == "declined":
            self.denied.add(tool[0])
        call_id = as_str(item.get("id"))
        if call_id not in self._running:
            yield from self.started(item)
        self._running.discard(call_id)
        self._awaited.discard(call_id)
        is_error = item.get("status") in ("failed", "declined")
        output = cut_output(_output(item))
        yield ToolFinished(call_id=call_id, output=output, is_error=is_error)
        if item.get("type") == "fileChange" and not is_error:
            yield from _file_changes(item)

    def close(self) -> Iterator[AgentEvent]:
        """The turn is over: a command that still runs is cut off, and what was denied is said."""
        for call_id in sorted(self._running):
            output = text("agent.codex.tool_cut")
            yield ToolFinished(call_id=call_id, output=output, is_error=True)
        self._running.clear()
        self._awaited.clear()
        yield from self.denied.notices()


def _tool(item: Json) -> tuple[str, Json] | None:
    """Name and input of the tool that `item` is the use of."""
    match item.get("type"):
        case "commandExecution":
            command = _unwrapped(as_str(item.get("command")))
            return "shell", {"command": command, "cwd": item.get("cwd")}
        case "fileChange":
            return "apply_patch", {"changes": [_change(change) for change in _changes(item)]}
        case "mcpToolCall":
            return f"mcp__{item.get('server')}__{item.get('tool')}", as_dict(item.get("arguments"))
        case "webSearch":
            return "web_search", {"query": item.get("query")}
        case "imageView":
            return "view_image", {"path": item.get("path")}
        case "collabAgentToolCall":
            return "sub_agent", {"action": item.get("tool"), "prompt": item.get("prompt")}
    return None


def _output(item: Json) -> str:
    match item.get("type"):
        case "commandExecution":
            output, exit_code = as_str(item.get("aggregatedOutput")), item.get("exitCode")
            return f"Exit code {exit_code}\n{output}" if exit_code else output
        case "fileChange":
            return "\n".join(f"{change.change} {change.path}" for change in _file_changes(item))
        case "mcpToolCall":
            if error := as_str(as_dict(item.get("error")).get("message")):
                return error
            content = as_dict(item.get("result")).get("content")
            return "\n".join(as_str(part.get("text")) for part in as_dicts(content))
    return ""


def _file_changes(item: Json) -> Iterator[FileChanged]:
    for change in _changes(item):
        path, kind = as_str(change.get("path")), as_dict(change.get("kind"))
        match kind.get("type"), kind.get("move_path"):
            case "add", _:
                yield FileChanged(path=path, change="written")
            case "delete", _:
                yield FileChanged(path=path, change="deleted")
            case _, str(target):
                yield FileChanged(path=path, change="deleted")
                yield FileChanged(path=target, change="written")
            case _:
                yield FileChanged(path=path, change="edited")


def _changes(item: Json) -> list[Json]:
    return as_dicts(item.get("changes"))


def _change(change: Json) -> Json:
    diff = cut_output(as_str(change.get("diff")))
    return {
        "path": change.get("path"),
        "kind": as_dict(change.get("kind")).get("type"),
        "diff": diff,
    }


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
) -> ErrorInfo:
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
