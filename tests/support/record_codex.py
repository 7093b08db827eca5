"""Runs and records the pinned Codex: `python -m tests.support.record_codex [case …]`.

Run it when the pin changes; the files it writes are the golden input of the agent's tests. Ids,
times, ports and folders are replaced by fixed ones, so that two recordings can be compared.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from executor_core.agents.agent import Assignment, Dialogue
from executor_core.agents.codex import arguments, native_program, variables, write_private_config
from executor_core.agents.codex_dialogue import CodexDialogue
from executor_core.agents.drive import drive
from executor_core.agents.host import AgentHost
from executor_core.clock import SystemClock
from executor_core.model import AgentEvent, AgentResult, Image, ModelConfig, SessionStarted
from tests.support.model_api import Garbage, Text, Thinking, ToolUse
from tests.support.openai_api import (
    Cut,
    Failure,
    Reply,
    Script,
    StreamFailure,
    openai_api,
    patch,
    say,
    shell,
)
from tests.support.real_cli import PINS, real_cli

RECORDINGS = Path(__file__).resolve().parents[1] / "agents" / "recordings"
FOLDER = RECORDINGS / f"codex_{PINS['codex'].version}"
KEY = "sk-scripted"
LOST_SESSION = "00000000-0000-4000-8000-00000000dead"
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_NUMBERS = re.compile(r'("(?:\w+AtMs|\w+At|durationMs|processId)":)"?\d+"?')
_PLACES = re.compile(r'("(?:userAgent|serverName)":)"[^"]*"')
# What depends on the machine, or comes when it likes, and says nothing about a turn.
_LEFT_OUT = re.compile(
    rb'"method":"(configWarning|remoteControl/status/changed|account/rateLimits/updated'
    rb'|thread/goal/cleared|thread/status/changed|mcpServer/startupStatus/updated)"'
)


def agent_host(folder: Path, program: Path | None = None, **base: str) -> AgentHost:
    """A computer with a home in `folder` on which `program` can be found."""
    path = "/usr/local/bin:/usr/bin:/bin"
    if program is not None:
        path = f"{program.parent}:{path}"
    host = AgentHost(
        base={"HOME": str(folder), "LANG": "C.UTF-8"} | base,
        settings={},
        path=path,
        platform=sys.platform,
        owner="tests",
        is_root=False,
        folder=folder,
        clock=SystemClock(),
    )
    return host


def assignment(home: Path, url: str, prompt: str = "Hello", **more: object) -> Assignment:
    """A run in `home`/ws whose task brings its own access to the model at `url`."""
    for name in ("ws", "scratch", "private"):
        (home / name).mkdir(exist_ok=True)
    fields: dict[str, object] = {
        "run_id": f"run_{home.name}",
        "prompt": prompt,
        "folder": home / "ws",
        "scratch": home / "scratch",
        "private_home": home / "private",
        "model": ModelConfig(model="gpt-5.5", api_key=KEY, base_url=url),
    }
    return Assignment(**(fields | more))  # type: ignore[arg-type]


class Tape(Dialogue):
    """Passes a dialogue on and keeps what it heard."""

    def __init__(self, inner: Dialogue) -> None:
        self.lines: list[bytes] = []
        self._inner = inner

    def outgoing(self) -> bytes:
        return self._inner.outgoing()

    def feed(self, line: bytes) -> Iterable[AgentEvent]:
        self.lines.append(line)
        return self._inner.feed(line)

    def interrupt(self) -> bytes | None:
        return self._inner.interrupt()

    def without_result(self, exit_code: int, stderr: str) -> AgentResult:
        return self._inner.without_result(exit_code, stderr)


async def run(
    task: Assignment, stop: asyncio.Event | None = None
) -> tuple[list[bytes], list[AgentEvent]]:
    """Let the real Codex do `task`: its lines, and the events that were made of them."""
    assert task.private_home is not None
    write_private_config(task.private_home, task.model)
    launcher = real_cli("codex")
    host = agent_host(task.private_home.parent)
    tape = Tape(CodexDialogue(task))
    events: list[AgentEvent] = []
    await drive(
        tape,
        [str(native_program(launcher)), *arguments(task)],
        cwd=task.folder,
        env=host.environment(variables(task)),
        marker=host.marker(task.run_id),
        clock=host.clock,
        emit=events.append,
        stop=stop or asyncio.Event(),
    )
    return tape.lines, events


@dataclass(frozen=True)
class Case:
    """One recording: what the model answers, and what is asked besides a plain prompt."""

    script: Script
    images: tuple[Image, ...] = ()
    session_id: str | None = None
    is_follow_up: bool = False


def cases() -> dict[str, Case]:
    """All recordings by name."""
    question = {"id": "q", "header": "H", "question": "Which?", "options": []}
    return {
        "text": Case([Reply((Thinking("Let me think."), Text("Hello", ", ", "world 你好.")))]),
        "two_messages": Case(
            [Reply((Text("I look."), ToolUse("exec_command", {"cmd": "true"}))), say("Done.")]
        ),
        "shell_tool": Case(
            [shell("echo hi > a.txt; echo said; exit 3"), say("It failed.")],
        ),
        "shell_left_running": Case(
            [shell("sleep 300; true", yield_time_ms=250), say("It runs.")],
        ),
        "patches": Case(
            [
                patch("*** Add File: a.txt", "+hello", "*** Add File: b.txt", "+x"),
                patch("*** Update File: a.txt", "@@", "-hello", "+bye"),
                patch("*** Update File: a.txt", "*** Move to: c.txt", "@@", "-bye", "+so long"),
                patch("*** Delete File: b.txt"),
                patch("*** Update File: c.txt", "@@", "-not there", "+x"),
                say("Patched."),
            ]
        ),
        "question": Case(
            [Reply((ToolUse("request_user_input", {"questions": [question]}),)), say("Then not.")]
        ),
        "image": Case([say("A pixel.")], images=(Image(media_type="image/png", data=PIXEL),)),
        "follow_up": Case([say("First."), say("Second.")], is_follow_up=True),
        "lost_session": Case([], session_id=LOST_SESSION),
        "error_400": Case([Failure(400, "The model does not like this.")]),
        "error_401": Case(lambda _: Failure(401, f"Incorrect API key provided: {KEY}")),
        "error_403": Case(lambda _: Failure(403, "Not for you.")),
        "error_404_model": Case([Failure(404, "No such model.", code="model_not_found")]),
        "error_429": Case([Failure(429, "Slow down.")]),
        "retry_429_then_text": Case([Failure(429, "Slow down.", retry_after=1), say("Now.")]),
        "error_quota": Case([Failure(429, "Over.", code="insufficient_quota")]),
        "error_500": Case(lambda _: Failure(500, "boom")),
        "error_503": Case(lambda _: Failure(503, "later")),
        "error_context": Case([StreamFailure("context_length_exceeded")]),
        "error_capacity": Case([StreamFailure("server_is_overloaded")]),
        "empty_body": Case(lambda _: Garbage()),
        "malformed_body": Case(lambda _: Garbage("data: {not json\n\n")),
        "cut_connection": Case([Cut((Text("half"),)), say("Whole.")]),
        "half_answer": Case([Cut(half="Half of "), say("Whole.")]),
        "half_answers": Case(lambda _: Cut((Text("First."),), half="Half of ")),
        "error_limit": Case([Failure(429, resets_at=4_102_444_800)]),
        "error_policy": Case([StreamFailure("cyber_policy", "Not that.")]),
        "error_spoilt": Case([Failure(400, "messages.3: could not process image")]),
        "output_limit": Case([Reply((Text("half"),), incomplete="max_output_tokens")]),
    }


async def record(case: Case, folder: Path) -> str:
    """Run one case in `folder`; its recording."""
    async with openai_api(case.script) as api, asyncio.timeout(60):
        task = assignment(folder, api.url, images=case.images, session_id=case.session_id)
        lines, events = await run(task)
        if case.is_follow_up:
            session_id = session_of(events)
            lines, _ = await run(assignment(folder, api.url, "And?", session_id=session_id))
        return normalised(lines, folder, api.url)


def session_of(events: Iterable[AgentEvent]) -> str:
    return next(event.session_id for event in events if isinstance(event, SessionStarted))


def normalised(lines: list[bytes], folder: Path, url: str) -> str:
    """The lines with every id, time, port and folder of this machine replaced by a fixed one."""
    kept = [line for line in lines if not _LEFT_OUT.search(line)]
    text = b"\n".join(kept).decode() + "\n"
    text = text.replace(str(folder), "/home/me").replace(url, "http://127.0.0.1:1/v1")
    text = _PLACES.sub(r'\1"somewhere"', _NUMBERS.sub(r"\g<1>1", text))
    known: dict[str, str] = {LOST_SESSION: LOST_SESSION}
    return _UUID.sub(
        lambda m: known.setdefault(m[0], f"00000000-0000-4000-8000-{len(known):012}"), text
    )


def shape(recording: str) -> list[str]:
    """What each line is, without what it says: what may not change without anyone noticing."""
    lines = [json.loads(line) for line in recording.splitlines()]
    return [_kind(line) for line in lines]


def _kind(line: dict[str, object]) -> str:
    params = line.get("params")
    item = params.get("item") if isinstance(params, dict) else None
    kind = f" {item['type']}" if isinstance(item, dict) else ""
    return f"{line.get('method') or line.get('id')}{kind}{' failed' if 'error' in line else ''}"


async def main(chosen: list[str]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, case in cases().items():
        if chosen and name not in chosen:
            continue
        with tempfile.TemporaryDirectory() as folder:
            recording = await record(case, Path(folder).resolve())
        (FOLDER / f"{name}.jsonl").write_text(recording, encoding="utf-8")
        print(f"{name}: {recording.count(chr(10))} lines")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
