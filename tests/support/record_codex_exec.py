"""Runs and records `codex exec` of the pinned Codex: `python -m tests.support.record_codex_exec`.

As `record_codex`, for the second of its two dialogues.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from executor_core.agents.agent import Assignment
from executor_core.agents.codex import CodexExec
from executor_core.model import AgentEvent, RawEvent
from tests.support.openai_api import openai_api
from tests.support.real_cli import PINS, real_cli
from tests.support.record_codex import (
    RECORDINGS,
    Case,
    agent_host,
    assignment,
    cases,
    normalised,
    session_of,
)

FOLDER = RECORDINGS / f"codex_exec_{PINS['codex'].version}"
_CHOSEN = (
    "text",
    "two_messages",
    "shell_tool",
    "shell_left_running",
    "patches",
    "follow_up",
    "error_400",
    "error_401",
    "error_404_model",
    "error_429",
    "error_500",
    "retry_429_then_text",
    "empty_body",
    "malformed_body",
    "cut_connection",
)


def exec_cases() -> dict[str, Case]:
    """Those cases of the app server that look different here."""
    return {name: case for name, case in cases().items() if name in _CHOSEN}


async def run(task: Assignment) -> list[AgentEvent]:
    """Let the real `codex exec` do `task`."""
    assert task.private_home is not None
    host = agent_host(task.private_home.parent, real_cli("codex"))
    events: list[AgentEvent] = []
    await CodexExec(host).run(task, events.append, asyncio.Event())
    return events


async def record(case: Case, folder: Path) -> str:
    """Run one case in `folder`; its recording."""
    async with openai_api(case.script) as api, asyncio.timeout(60):
        events = await run(assignment(folder, api.url))
        if case.is_follow_up:
            session_id = session_of(events)
            events = await run(assignment(folder, api.url, "And?", session_id=session_id))
        return normalised(_lines(events), folder, api.url)


def _lines(events: Iterable[AgentEvent]) -> list[bytes]:
    return [
        json.dumps(event.raw, ensure_ascii=False).encode()
        for event in events
        if isinstance(event, RawEvent)
    ]


async def main(chosen: list[str]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, case in exec_cases().items():
        if chosen and name not in chosen:
            continue
        with tempfile.TemporaryDirectory() as folder:
            recording = await record(case, Path(folder).resolve())
        (FOLDER / f"{name}.jsonl").write_text(recording, encoding="utf-8")
        print(f"{name}: {recording.count(chr(10))} lines")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
