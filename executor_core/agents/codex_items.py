"""The things that Codex does, as its app server names them, and what a person sees of them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from executor_core.agents.loose_json import Json, as_dict, as_dicts, as_str
from executor_core.agents.tool_output import cut_output
from executor_core.model import AgentEvent, FileChanged, Notice, ToolFinished, ToolStarted
from executor_core.texts import text

MAX_DENIED = 10
MAX_NAME = 100
"""So many of the things that were denied are named, in so many characters each."""


class Tools:
    """The tools in use. Every start has its end, even where Codex tells only one of them."""

    def __init__(self) -> None:
        self._running: set[str] = set()
        self._awaited: set[str] = set()
        self._denied: dict[str, None] = {}

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
            self.deny(tool[0])
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

    def deny(self, what: str) -> None:
        """`what` was asked for, and nobody is here to permit it."""
        if len(self._denied) < MAX_DENIED:
            self._denied[" ".join(what.split())[:MAX_NAME]] = None

    def close(self) -> Iterator[AgentEvent]:
        """The turn is over: a command that still runs is cut off, and what was denied is said."""
        for call_id in sorted(self._running):
            output = text("agent.codex.tool_cut")
            yield ToolFinished(call_id=call_id, output=output, is_error=True)
        self._running.clear()
        self._awaited.clear()
        for what in self._denied:
            words = text("notice.tool_denied", tool=what, what="")
            yield Notice(code="tool_denied", text=words.strip())
        self._denied.clear()


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
