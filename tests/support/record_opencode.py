"""Records what the pinned OpenCode says: `python -m tests.support.record_opencode [case …]`.

Run it when the pin changes; the files it writes are the golden input of the agent's tests. They
hold its messages and, of its log, the lines that we read. Ids, times, ports and folders are
replaced by fixed ones, so that two recordings can be compared.
"""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from executor_core.agents.agent import Assignment
from executor_core.agents.opencode import OpenCode
from executor_core.agents.opencode_dialogue import OpenCodeDialogue
from executor_core.model import AgentEvent, ModelConfig
from tests.support.agent_stage import agent_host, assignment, running
from tests.support.chat_api import Script, chat_api
from tests.support.model_api import Failure, Garbage, Reply, Text, Thinking, ToolUse, say, use
from tests.support.real_cli import PINS, real_cli

RECORDINGS = Path(__file__).resolve().parents[1] / "agents" / "recordings"
FOLDER = RECORDINGS / f"opencode_{PINS['opencode'].version}"
KEY = "sk-scripted"
LOST_SESSION = "ses_00000000000000000000000000"
_READ = re.compile(rb'^timestamp=.* message=(loop|stream|"stream error") ')
_IDS = re.compile(r"\b(ses|msg|prt)_[0-9A-Za-z]{20,}")
_WHEN = re.compile(r"\b(timestamp|run)=\S+")


@dataclass(frozen=True)
class Case:
    script: Script
    prompt: str = "Hello"
    session_id: str | None = None
    """Resume this one; with `is_follow_up` the one of a first turn before."""
    is_follow_up: bool = False


def cases() -> dict[str, Case]:
    """All recordings by name."""
    return {
        "text": Case([Reply((Thinking("Let me think."), Text("Hello", ", ", "world 你好.")))]),
        "tools": Case(
            [
                Reply((Text("First."), ToolUse("write", {"filePath": "a.txt", "content": "hi\n"}))),
                use("edit", filePath="a.txt", oldString="hi", newString="bye"),
                use("bash", command="echo hi; exit 3", description="say hi"),
                use("read", filePath="missing.txt"),
                say("It ", "failed."),
            ]
        ),
        "follow_up": Case([say("One."), say("Two.")], is_follow_up=True),
        "unknown_session": Case([], session_id=LOST_SESSION),
        "error_401": Case(lambda _: Failure(401, "Incorrect API key provided")),
        "retry_429_then_text": Case([Failure(429, "Slow down", 1), say("Now.")]),
        "empty_body": Case(lambda _: Garbage()),
        "malformed": Case(lambda _: Garbage("data: {nonsense\n\n")),
    }


class _Recorder(OpenCodeDialogue):
    """Keeps the lines before it understands them."""

    lines: list[bytes]

    def feed(self, line: bytes) -> Iterable[AgentEvent]:  # type: ignore[override]
        if b"available_commands_update" not in line:
            self.lines.append(line)
        return super().feed(line)

    def feed_stderr(self, line: bytes) -> Iterable[AgentEvent]:  # type: ignore[override]
        if _READ.match(line) and b" small=true " not in line:
            self.lines.append(line)
        return super().feed_stderr(line)


def task(folder: Path, url: str, prompt: str = "Hello", **more: object) -> Assignment:
    """A run whose task brings its own access to the model at `url`."""
    home = folder / "private"
    home.mkdir(exist_ok=True)
    model = ModelConfig(model="m1", api_key=KEY, base_url=url)
    return assignment(folder, prompt, **{"private_home": home, "model": model} | more)


async def record(case: Case, folder: Path) -> str:
    """Run one case; its recording."""
    host = agent_host(folder, real_cli("opencode"))
    _Recorder.lines = []
    async with chat_api(case.script) as api:
        with patch("executor_core.agents.opencode.OpenCodeDialogue", _Recorder):
            session_id = case.session_id
            if case.is_follow_up:
                async with running(OpenCode(host), host, task(folder, api.url)) as first:
                    await first.result()
                    session_id = first.session_id
                _Recorder.lines = []
            wanted = task(folder, api.url, case.prompt, session_id=session_id)
            async with running(OpenCode(host), host, wanted) as run:
                await run.result()
        return _normalised(_Recorder.lines, folder, api.url)


def _normalised(lines: list[bytes], folder: Path, url: str) -> str:
    text = b"\n".join([*lines, b""]).decode()
    text = text.replace(str(folder), "/home/me").replace(str(folder)[1:], "home/me")
    text = text.replace(url.removesuffix("/v1"), "http://127.0.0.1:1")
    known: dict[str, str] = {}

    def fixed(found: re.Match[str]) -> str:
        return known.setdefault(found[0], f"{found[1]}_{len(known):026}")

    return _WHEN.sub(r"\1=0", _IDS.sub(fixed, text))


async def main(chosen: list[str]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, case in cases().items():
        if chosen and name not in chosen:
            continue
        with tempfile.TemporaryDirectory() as folder:
            recording = await record(case, Path(folder).resolve())
        (FOLDER / f"{name}.txt").write_text(recording, encoding="utf-8")
        print(f"{name}: {recording.count(chr(10))} lines")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
