"""A `claude` that does what its prompt says, at once and step by step: for tests of the executor.

The prompt is a list of steps as JSON (`turn` below writes it); a prompt that is none is answered
with its own words. Gates are files in the folder `gates` beside the program: a turn waits at a gate
until the test opens it. It leaves when it is interrupted, like the real one, unless it is stubborn.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shlex
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

SESSION_ID = "00000000-0000-4000-8000-00000000000a"


class StubClaude:
    """The program in a folder of its own, and the gates at which its turns wait."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self._gates = self.bin / "gates"
        self._gates.mkdir(parents=True)
        self.program = self.bin / "claude"
        (self.bin / "claude.py").write_bytes(Path(__file__).read_bytes())
        # By a shell: the first line of a script cannot hold a path with a space in it.
        self.program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -IS "$0.py" "$@"\n')
        self.program.chmod(self.program.stat().st_mode | stat.S_IXUSR)

    def sign_out(self) -> None:
        """Nobody is signed in from now on."""
        (self.bin / "signed-out").touch()

    async def reached(self, gate: str, limit_s: float = 20) -> int:
        """Wait until a turn stands at the gate; the pid of its process."""
        file = self._gates / f"{gate}.reached"
        async with asyncio.timeout(limit_s):
            while not file.exists():
                await asyncio.sleep(0.005)
        return int(file.read_text())

    def has_reached(self, gate: str) -> bool:
        """Whether a turn stands, or stood, at the gate."""
        return (self._gates / f"{gate}.reached").exists()

    def open(self, *gates: str) -> None:
        """Let through whoever stands there now or comes later."""
        for gate in gates:
            (self._gates / f"{gate}.open").touch()


def turn(*steps: list[Any]) -> str:
    """The prompt of a turn that goes these steps."""
    return json.dumps(steps)


def say(*words: str) -> list[Any]:
    """Text of the answer, one delta per part."""
    return ["say", *words]


def gate(name: str) -> list[Any]:
    """Wait until the test opens the gate."""
    return ["gate", name]


def spawn(*argv: str, escapes: bool = False) -> list[Any]:
    """Start a program and leave it; one that escapes is in a session of its own."""
    return ["spawn", escapes, *argv]


def talk(count: int, seconds: float, words: str) -> list[Any]:
    """`count` deltas, evenly over that time."""
    return ["talk", count, seconds, words]


def flood(count: int, words: str) -> list[Any]:
    """`count` deltas, as fast as they are read."""
    return ["flood", count, words]


def tell_time() -> list[Any]:
    """Say what the monotonic clock of this computer shows."""
    return ["tell_time"]


def be_stubborn() -> list[Any]:
    """From now on only SIGKILL helps."""
    return ["stubborn"]


def leave() -> list[Any]:
    """End without a result."""
    return ["leave"]


def write(name: str, content: str) -> list[Any]:
    """Write a file in the working folder."""
    return ["write", name, content]


def reveal(file: Path) -> list[Any]:
    """Tell everything it was given, and the words in that file (a JSON list), in many spellings.

    As text and as thoughts, each in two parts; as a tool's input and output; and as an error.
    """
    return ["reveal", str(file)]


# --- the program -----------------------------------------------------------------------------


def _emit(**message: Any) -> None:
    _write_out(_line(**message))  # one write per line


def _line(**message: Any) -> bytes:
    return json.dumps(message | {"session_id": SESSION_ID}).encode() + b"\n"


def _write_out(data: bytes) -> None:
    while data:  # as far as the pipe takes it
        data = data[os.write(1, data) :]


def delta(words: str) -> bytes:
    """The line that says these words."""
    part = {"type": "text_delta", "text": words}
    event = {"type": "content_block_delta", "index": 0, "delta": part}
    return _line(type="stream_event", event=event, parent_tool_use_id=None)


def _spellings(word: str) -> list[str]:
    return [
        word,
        base64.b64encode(word.encode()).decode(),
        quote(word, safe=""),
    ]


class _Turn:
    def __init__(self, arguments: list[str]) -> None:
        self._said = ""
        self._is_stubborn = False
        self._given = [*os.environ.values(), *arguments]  # noqa: TID251  what an agent sees
        files = [Path(argument.partition("=")[2]) for argument in arguments if "=/" in argument]
        self._given += [file.read_text() for file in files if file.is_file()]

    def play(self, prompt: str) -> None:
        _emit(type="system", subtype="init", cwd=str(Path.cwd()), model="stub", tools=[])
        block: dict[str, Any] = {"type": "text", "text": ""}
        event: dict[str, Any] = {"type": "content_block_start", "index": 0, "content_block": block}
        _emit(type="stream_event", event=event, parent_tool_use_id=None)
        try:
            # What is attached to the task stands behind it.
            steps, _end = json.JSONDecoder().raw_decode(prompt)
        except ValueError:
            steps = [["say", prompt]]
        for name, *arguments in steps:
            getattr(self, f"_{name}")(*arguments)
        message = {"role": "assistant", "content": [{"type": "text", "text": self._said}]}
        _emit(type="assistant", message=message, parent_tool_use_id=None)
        usage = {"input_tokens": 10, "output_tokens": 20}
        _emit(type="result", subtype="success", is_error=False, result=self._said, usage=usage)

    def leave_if_told(self) -> None:
        # The first line was the prompt; whatever follows, also the end, is the wish to stop.
        sys.stdin.buffer.readline()
        while self._is_stubborn:
            signal.pause()
        os._exit(0)

    def _say(self, *words: str) -> None:
        for part in words:
            self._said += part
            _write_out(delta(part))

    def _tell_time(self) -> None:
        self._say(f"{time.monotonic()} ")

    def _talk(self, count: int, seconds: float, words: str) -> None:
        began = time.monotonic()
        for index in range(count):
            self._say(words)
            wait = began + seconds * (index + 1) / count - time.monotonic()
            time.sleep(max(0.0, wait))  # noqa: TID251  plays a model that takes its time

    def _flood(self, count: int, words: str) -> None:
        self._said += words * count
        line, left = delta(words), count
        while left:
            part = min(left, 1000)
            _write_out(line * part)
            left -= part

    def _gate(self, name: str) -> None:
        gates = Path(__file__).parent / "gates"
        partial = gates / f"{name}.{os.getpid()}"
        partial.write_text(str(os.getpid()))
        partial.rename(gates / f"{name}.reached")
        while not (gates / f"{name}.open").exists():
            time.sleep(0.005)  # noqa: TID251  a process of its own, which no clock reaches

    def _spawn(self, escapes: bool, *argv: str) -> None:
        subprocess.Popen(argv, start_new_session=escapes)

    def _leave(self) -> None:
        os._exit(1)

    def _stubborn(self) -> None:
        self._is_stubborn = True
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)

    def _reveal(self, file: str) -> None:
        told = json.loads(Path(file).read_text())
        forms = [form for word in (*self._given, *told) for form in _spellings(word)]
        forms += [word.encode().hex() for word in told]
        for form in forms:
            self._say(form[: len(form) // 2], form[len(form) // 2 :] + "\n")
        for form in forms:
            for part in (form[: len(form) // 2], form[len(form) // 2 :] + "\n"):
                delta = {"type": "thinking_delta", "thinking": part}
                event = {"type": "content_block_delta", "index": 0, "delta": delta}
                _emit(type="stream_event", event=event, parent_tool_use_id=None)
        for number, form in enumerate(forms):
            use: dict[str, Any] = {"type": "tool_use", "id": f"t{number}", "name": "Bash"}
            use["input"] = {"command": f"echo {form}"}
            message = {"role": "assistant", "content": [use]}
            _emit(type="assistant", message=message, parent_tool_use_id=None)
            result: dict[str, Any] = {"type": "tool_result", "tool_use_id": f"t{number}"}
            result |= {"content": form, "is_error": False}
            message = {"role": "user", "content": [result]}
            _emit(type="user", message=message, parent_tool_use_id=None)
        print("\n".join(forms), file=sys.stderr, flush=True)

    def _write(self, name: str, content: str) -> None:
        Path(name).write_text(content, encoding="utf-8")


def main(arguments: list[str]) -> int:
    """What the executor may ask of the real one: version, login, and one turn."""
    if "--version" in arguments:
        print("2.1.197 (Claude Code)")
        return 0
    if arguments[:2] == ["auth", "status"]:
        is_signed_in = not (Path(__file__).parent / "signed-out").exists()
        print(json.dumps({"loggedIn": is_signed_in, "authMethod": "api_key"}))
        return 0 if is_signed_in else 1
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    message = json.loads(sys.stdin.buffer.readline())["message"]
    current = _Turn(arguments)
    threading.Thread(target=current.leave_if_told, daemon=True).start()
    current.play("".join(block.get("text", "") for block in message["content"]))
    sys.stdout.flush()
    # Not through the interpreter's end, which would wait for the thread that reads.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
