"""The demo agent: no model, no login. It says what it is and really writes a file.

It exists only in standalone mode, so that a newcomer sees a whole run before anything is installed.
It is a process like every other agent; `main` below is that process.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

import msgspec

from executor_core.agents.agent import Agent, Assignment, Emit
from executor_core.agents.host import AgentHost
from executor_core.errors import ExecutorError
from executor_core.model import (
    AgentEvent,
    AgentResult,
    Availability,
    FileChanged,
    TextDelta,
    ToolFinished,
    ToolStarted,
)
from executor_core.texts import text

NAME = "demo"
FILE_NAME = "hello-from-the-demo-agent.md"
_WORD_PAUSE_S = 0.03


class DemoAgent(Agent):
    """`command` starts this program's own demo process."""

    name = NAME

    def __init__(self, host: AgentHost, command: Sequence[str]) -> None:
        self._host = host
        self._command = tuple(command)

    async def availability(self) -> Availability:
        return Availability(name=NAME, title=text("agent.demo.title"), is_usable=True)

    async def run(self, assignment: Assignment, emit: Emit, stop: asyncio.Event) -> AgentResult:
        return await self._host.drive(
            DemoDialogue(assignment),
            self._command,
            assignment,
            emit,
            stop,
            env=self._host.environment({}),
        )


class DemoDialogue:
    """Its lines are our own events; the words come from the catalogue."""

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._is_asked = False

    def outgoing(self) -> bytes:
        """What to say and write, once."""
        if self._is_asked:
            return b""
        self._is_asked = True
        message = {
            "words": text("agent.demo.answer", file=FILE_NAME, length=len(self._assignment.prompt)),
            "content": text("agent.demo.file", run_id=self._assignment.run_id),
            "done": text("agent.demo.done", file=FILE_NAME),
        }
        return msgspec.json.encode(message) + b"\n"

    def feed(self, line: bytes) -> Iterator[AgentEvent]:
        yield msgspec.json.decode(line, type=AgentEvent)

    def interrupt(self) -> None:
        return None

    def without_result(self, exit_code: int, stderr: str) -> AgentResult:
        error = ExecutorError("agent_ended_early", exit_code=exit_code, stderr=stderr)
        return AgentResult(error=error.message)


def main(inp: TextIO = sys.stdin, out: TextIO = sys.stdout) -> None:
    """The process: read one line, stream the words, write the file in the current folder."""
    script = json.loads(inp.readline())

    def say(event: AgentEvent) -> None:
        out.write(msgspec.json.encode(event).decode() + "\n")
        out.flush()

    for word in script["words"].split(" "):
        say(TextDelta(text=word + " "))
        time.sleep(_WORD_PAUSE_S)  # noqa: TID251  the process plays a model that takes its time
    path = Path.cwd() / FILE_NAME
    say(ToolStarted(call_id="1", name="write_file", input={"path": str(path)}))
    path.write_text(script["content"], encoding="utf-8")
    say(ToolFinished(call_id="1", output=f"{path.stat().st_size} bytes"))
    say(FileChanged(path=str(path), change="written"))
    say(TextDelta(text="\n\n" + script["done"]))
    say(AgentResult(final_text=script["done"]))
