"""Records what the pinned Claude Code says on stdout: `python -m tests.support.record_claude`.

Run it when the pin changes; the files it writes are the golden input of the agent's tests. Ids,
ports and folders are replaced by fixed ones, so that two recordings can be compared.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.model_api import (
    Cut,
    Failure,
    Garbage,
    ModelApi,
    Reply,
    Script,
    Text,
    Thinking,
    ToolUse,
    model_api,
    say,
    use,
)
from tests.support.real_cli import PINS, real_cli
from tests.support.scripted_api import Gate

RECORDINGS = Path(__file__).resolve().parents[1] / "agents" / "recordings"
ARGV = (
    "-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose",
    "--include-partial-messages", "--permission-mode", "bypassPermissions", "--strict-mcp-config",
)  # fmt: skip
QUIET = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "CLAUDE_CODE_MAX_RETRIES": "2",
    "IS_SANDBOX": "1",
    "NO_PROXY": "127.0.0.1",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/bin:/usr/bin:/bin",
}
RESULT = '{"type":"result"'
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass
class Session:
    """One conversation of a recording: the folders it keeps and what was said so far."""

    folder: Path
    api: ModelApi
    lines: list[str] = field(default_factory=list)

    async def start(self, *extra: str, key: str = "sk-scripted") -> Process:
        """Start the CLI in the workspace, with its home beside it."""
        for name in ("ws", "config"):
            (self.folder / name).mkdir(exist_ok=True)
        env = QUIET | {
            "HOME": str(self.folder),
            "CLAUDE_CONFIG_DIR": str(self.folder / "config"),
            "ANTHROPIC_BASE_URL": self.api.url,
        }
        env |= {"ANTHROPIC_API_KEY": key} if key else {}
        program = real_cli("claude_code")
        return await asyncio.create_subprocess_exec(
            program, *ARGV, *extra, cwd=self.folder / "ws", env=env,
            stdin=PIPE, stdout=PIPE, stderr=asyncio.subprocess.DEVNULL, limit=64 * 2**20,
        )  # fmt: skip

    async def read_to_end(self, process: Process) -> None:
        assert process.stdin is not None
        process.stdin.close()
        await self.read_until(process, "")
        await process.wait()

    async def read_until(self, process: Process, part: str) -> None:
        """Keep the lines of stdout up to the first that has `part` in it, or to the end."""
        assert process.stdout is not None
        while line := await process.stdout.readline():
            self.lines.append(line.decode())
            if part and part in self.lines[-1]:
                return


def write(process: Process, line: dict[str, Any]) -> None:
    """Say one line to the CLI."""
    assert process.stdin is not None
    process.stdin.write(json.dumps(line).encode() + b"\n")


def prompt(process: Process, text: str) -> None:
    content = [{"type": "text", "text": text}]
    write(process, {"type": "user", "message": {"role": "user", "content": content}})


async def one_turn(session: Session) -> None:
    """One prompt, then the end of stdin."""
    process = await session.start()
    prompt(process, "Hello")
    await session.read_to_end(process)


async def without_key(session: Session) -> None:
    process = await session.start(key="")
    prompt(process, "Hello")
    await session.read_to_end(process)


async def follow_up(session: Session) -> None:
    """A second process resumes the conversation of the first; only the second is kept."""
    await one_turn(session)
    known = json.loads(session.lines[-1])["session_id"]
    session.lines.clear()
    process = await session.start("--resume", known)
    prompt(process, "And now?")
    await session.read_to_end(process)


async def unknown_session(session: Session) -> None:
    process = await session.start("--resume", "00000000-0000-4000-8000-00000000dead")
    prompt(process, "Hello")
    await session.read_to_end(process)


async def initialize(session: Session) -> None:
    """The handshake, then one turn."""
    process = await session.start()
    write(process, _control("r1", "initialize"))
    await session.read_until(process, '"type":"control_response"')
    prompt(process, "Hello")
    await session.read_to_end(process)


def interrupt_when(
    ready: Callable[[Session, Process], Awaitable[None]],
) -> Callable[[Session], Awaitable[None]]:
    """A turn that is interrupted once `ready` returns; then the next prompt, and the end."""

    async def drive(session: Session) -> None:
        process = await session.start()
        prompt(process, "Hello")
        await ready(session, process)
        write(process, _control("r2", "interrupt"))
        await session.read_until(process, RESULT)
        prompt(process, "Go on")
        await session.read_until(process, RESULT)
        await session.read_to_end(process)

    return drive


def _control(request_id: str, subtype: str) -> dict[str, Any]:
    request = {"subtype": subtype}
    return {"type": "control_request", "request_id": request_id, "request": request}


def cut_after_text(gate: Gate) -> Callable[[Session], Awaitable[None]]:
    """A turn whose connection is cut once the CLI passed on the first text."""

    async def drive(session: Session) -> None:
        process = await session.start()
        prompt(process, "Hello")
        await session.read_until(process, '"text":"half of "')
        gate.open()
        await session.read_to_end(process)

    return drive


async def _block_begun(session: Session, process: Process) -> None:
    await session.read_until(process, '"type":"content_block_start"')


async def _two_deltas(session: Session, process: Process) -> None:
    await session.read_until(process, '"text":"two "')


async def _shell_runs(session: Session, process: Process) -> None:
    await session.read_until(process, '"type":"message_stop"')
    while not (session.folder / "ws" / "started").exists():
        await asyncio.sleep(0.02)


@dataclass(frozen=True)
class Case:
    script: Script
    drive: Callable[[Session], Awaitable[None]] = one_turn


def cases() -> dict[str, Case]:
    """All recordings by name."""
    cut = Gate()
    compound = "touch started; sleep 300; true"

    return {
        "text": Case([Reply((Thinking("Let me think."), Text("Hello", ", ", "world 你好.")))]),
        "bash_tool": Case(
            [
                Reply((Text("I run it."), ToolUse("Bash", {"command": "echo hi; exit 3"}))),
                say("It ", "failed."),
            ]
        ),
        "write_tool": Case([use("Write", file_path="hello.txt", content="hi\n"), say("Written.")]),
        "edit_tool": Case(
            [
                use("Write", file_path="hello.txt", content="hello world\n"),
                use("Edit", file_path="hello.txt", old_string="hello", new_string="bye"),
                say("Edited."),
            ]
        ),
        "follow_up": Case([say("First."), say("Second.")], follow_up),
        "initialize": Case([say("Ready.")], initialize),
        "api_retry_401": Case(lambda _: Failure(401, "invalid x-api-key")),
        "retry_429_then_text": Case([Failure(429, "slow down", 1), say("Now.")]),
        "error_400": Case([Failure(400, "messages: the model does not like this")]),
        "error_404_model": Case(lambda _: Failure(404, "model: no-such-model")),
        "error_529": Case(lambda _: Failure(529, "Overloaded")),
        "empty_body": Case(lambda _: Garbage()),
        "cut_connection": Case([Cut((Text("half of ", cut),))], cut_after_text(cut)),
        "no_credentials": Case([], without_key),
        "unknown_session": Case([], unknown_session),
        "interrupt_before_text": Case(
            [say(Gate(), "one"), say("Went on.")], interrupt_when(_block_begun)
        ),
        "interrupt_text": Case(
            [say("one ", "two ", Gate(), "three"), say("Went on.")], interrupt_when(_two_deltas)
        ),
        "interrupt_tool": Case(
            [use("Bash", command=compound), say("Went on.")], interrupt_when(_shell_runs)
        ),
    }


def normalised(lines: list[str], session: Session) -> str:
    """The lines with every id, port and folder of this machine replaced by a fixed one."""
    text = "".join(lines)
    for path, name in ((session.folder, "/home/me"), (real_cli("claude_code").parents[2], "/cli")):
        text = text.replace(str(path), name).replace(str(path).replace("/", "-"), "-home-me")
    text = text.replace(session.api.url.removeprefix("http://"), "127.0.0.1:1")
    known: dict[str, str] = {}
    return _UUID.sub(
        lambda m: known.setdefault(m[0], f"00000000-0000-4000-8000-{len(known):012}"), text
    )


async def record(name: str, case: Case, folder: Path) -> str:
    """Run one case; its recording."""
    async with model_api(case.script) as api, asyncio.timeout(90):
        session = Session(folder, api)
        await case.drive(session)
        return normalised(session.lines, session)


async def main(chosen: list[str]) -> None:
    target = RECORDINGS / f"claude_code_{PINS['claude_code'].version}"
    target.mkdir(parents=True, exist_ok=True)
    for name, case in cases().items():
        if chosen and name not in chosen:
            continue
        with tempfile.TemporaryDirectory() as folder:
            recording = await record(name, case, Path(folder).resolve())
        (target / f"{name}.jsonl").write_text(recording, encoding="utf-8")
        print(f"{name}: {recording.count(chr(10))} lines")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
