"""The story of a run as parts of a text: what is shown of each event, and what folds away.

Pure; how it looks is the business of `output`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum

import msgspec
from msgspec import Struct

from executor_core.model import (
    AgentEvent,
    Artifact,
    FileChanged,
    Notice,
    ReasoningDelta,
    RunEnded,
    RunStarted,
    TextDelta,
    ToolFinished,
    ToolStarted,
)
from executor_core.texts import text

MAX_TOOL_CHARS = 20_000
"""Of what goes into a tool and comes out of it; the whole stays in the folder of the run."""
_MAX_BRIEF = 100


class Kind(IntEnum):
    """What a part of the text is. Numbers, because the text's blocks carry them."""

    ANSWER = 1
    REASONING = 2
    TOOL = 3
    NOTICE = 4
    FILE = 5
    HEADING = 6
    RAW = 7


class Part(Struct, kw_only=True, frozen=True):
    """Text to be added at the end, or at the end of the fold `fold`.

    `is_new` parts begin a line; others go on where the last one of their kind ended.
    """

    kind: Kind
    text: str
    fold: str = ""
    is_new: bool = True


class Head(Struct, kw_only=True, frozen=True):
    """The line that opens the fold `fold`; a later one of the same fold replaces it."""

    kind: Kind
    text: str
    fold: str


class Teller:
    """Turns the events of one run, in their order, into parts."""

    def __init__(self) -> None:
        self._tools: dict[str, str] = {}
        self._thoughts = 0
        self._is_thinking = False
        self._has_answer = False
        self._files: list[str] = []
        self._folder = ""

    def tell(self, event: AgentEvent) -> Iterator[Part | Head]:
        """What is added for this event; nothing for those that only machines need."""
        if isinstance(event, ReasoningDelta):
            yield from self._think(event.text)
            return
        self._is_thinking = False
        match event:
            case RunStarted(folder=folder):
                self._folder = folder.rstrip("/\\")
            case TextDelta(text=words):
                self._has_answer = True
                yield Part(kind=Kind.ANSWER, text=words, is_new=False)
            case ToolStarted():
                yield from self._start_tool(event)
            case ToolFinished():
                yield from self._finish_tool(event)
            case FileChanged(path=path) if self._inside(path) not in self._files:
                self._files.append(self._inside(path))
            case Notice(text=words):
                yield Part(kind=Kind.NOTICE, text=words)
            case RunEnded():
                yield from self._end(event)

    def _think(self, words: str) -> Iterator[Part | Head]:
        if not self._is_thinking:
            self._is_thinking = True
            self._thoughts += 1
            yield Head(kind=Kind.REASONING, text=text("runs.reasoning"), fold=self._thought)
        yield Part(kind=Kind.REASONING, text=words, fold=self._thought, is_new=False)

    @property
    def _thought(self) -> str:
        return f"thought {self._thoughts}"

    def _start_tool(self, event: ToolStarted) -> Iterator[Part | Head]:
        fold = f"tool {event.call_id}"
        self._tools[event.call_id] = line = _brief(event, self._inside)
        yield Head(kind=Kind.TOOL, text=f"{line} — {text('runs.tool_running')}", fold=fold)
        yield Part(kind=Kind.TOOL, text=_cut(_readable(event.input)), fold=fold)

    def _finish_tool(self, event: ToolFinished) -> Iterator[Part | Head]:
        yield self._tool_head(
            event.call_id, "runs.tool_failed" if event.is_error else "runs.tool_done"
        )
        if event.output:
            fold = f"tool {event.call_id}"
            yield Part(kind=Kind.TOOL, text=f"→ {_cut(event.output)}", fold=fold)

    def _tool_head(self, call_id: str, state: str) -> Head:
        line = self._tools.pop(call_id, call_id)
        return Head(kind=Kind.TOOL, text=f"{line} — {text(state)}", fold=f"tool {call_id}")

    def _inside(self, path: str) -> str:
        """A path in the run's folder without that folder, which is said elsewhere."""
        is_inside = self._folder and path.startswith((f"{self._folder}/", f"{self._folder}\\"))
        return path[len(self._folder) + 1 :] if is_inside else path

    def _end(self, event: RunEnded) -> Iterator[Part | Head]:
        outcome = event.outcome
        for call_id in tuple(self._tools):
            yield self._tool_head(call_id, "runs.tool_stopped")
        if outcome.text and not self._has_answer:
            yield Part(kind=Kind.ANSWER, text=outcome.text)
        if self._files:
            yield from _list(text("runs.files"), self._files)
        if outcome.artifacts:
            yield from _list(text("runs.artifacts"), map(_artifact, outcome.artifacts))


def _list(title: str, lines: Iterable[str]) -> Iterator[Part]:
    yield Part(kind=Kind.HEADING, text=title)
    for line in lines:
        yield Part(kind=Kind.FILE, text=line)


def _artifact(artifact: Artifact) -> str:
    size = text("runs.kilobytes", size=f"{artifact.size_bytes / 1000:.1f}")
    return f"{artifact.name} — {size}"


def raw(event: AgentEvent) -> Part:
    """The event as it stands in the file."""
    return Part(kind=Kind.RAW, text=_cut(msgspec.json.encode(event).decode()))


def _brief(event: ToolStarted, inside: Callable[[str], str]) -> str:
    """The tool and the shortest thing that tells one call from another."""
    values = (value for value in event.input.values() if isinstance(value, str) and value.strip())
    first = " ".join(inside(next(values, "")).split())
    line = f"{event.name}  {first}".strip()
    return line if len(line) <= _MAX_BRIEF else line[: _MAX_BRIEF - 1] + "…"


def _readable(values: dict[str, object]) -> str:
    """Input as `name: value`, with long texts as they are rather than as JSON."""
    return "\n".join(f"{name}: {_plain(value)}" for name, value in values.items())


def _plain(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _cut(words: str) -> str:
    if len(words) <= MAX_TOOL_CHARS:
        return words
    return f"{words[:MAX_TOOL_CHARS]}\n{text('runs.cut', characters=len(words))}"


def broken(words: str, column: int, longest: int) -> str:
    """`words`, to stand at `column`, with a break wherever a line would be over `longest`."""
    lines = words.split("\n")
    if column + len(lines[0]) <= longest and all(len(line) <= longest for line in lines):
        return words
    room = max(0, longest - column)
    head = [lines[0][:room]] if room else [""]
    cut = [lines[0][n : n + longest] for n in range(room, len(lines[0]), longest)]
    rest = [
        line[n : n + longest] for line in lines[1:] for n in range(0, max(1, len(line)), longest)
    ]
    return "\n".join([*head, *cut, *rest])
