"""Secrets that every test has around it, and where they turned up though they must not.

In the environment, in every task of `execute`, and as the tokens of executors: searched for in the
folder of each test, in what its servers were told, and in every command line that was started.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote


def canary(kind: str) -> str:
    """A secret that no encoding leaves as it is."""
    return f"canary/{kind}+{kind[::-1]}?0123456789"


ENVIRONMENT = {
    name: canary(name.lower()) for name in ("GROQ_API_KEY", "DEPLOY_TOKEN", "DATABASE_PASSWORD")
}
"""What a person has in the environment from which the executor is started."""
TASK, GIT = canary("of-task"), canary("of-git")
EVERYWHERE = (*ENVIRONMENT.values(), TASK, GIT)


def spellings(secret: str) -> tuple[str, ...]:
    """Plain, URL-encoded, in base64, in hex, and as the password of a login over HTTP."""
    raw = secret.encode()
    login = base64.b64encode(b"alice:" + raw).decode()
    return secret, quote(secret, safe=""), base64.b64encode(raw).decode(), raw.hex(), login


def found_in(text: str, secrets: Iterable[str] = EVERYWHERE) -> list[str]:
    """Which of the secrets are in the text, in any spelling."""
    return [secret for secret in secrets if any(form in text for form in spellings(secret))]


def found_below(folder: Path, secrets: Iterable[str] = EVERYWHERE) -> set[tuple[str, str]]:
    """Which file holds which secret, also where two pieces of an answer meet."""
    found = set()
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        text = path.read_bytes().decode("latin-1")
        if path.name == "events.jsonl":
            text += _pieces_of(path)
        found |= {(str(path.relative_to(folder)), secret) for secret in found_in(text, secrets)}
    return found


def _pieces_of(events: Path) -> str:
    """What was said, then what was thought, without the seams."""
    words: dict[str, str] = {"text_delta": "", "reasoning_delta": ""}
    for line in events.read_bytes().splitlines():
        with suppress(ValueError, TypeError, LookupError):  # torn by a crash, or not from an agent
            event = json.loads(line)
            if event["kind"] in words:
                words[event["kind"]] += event["text"]
    return "\n".join(words.values())


class StartedCommands:
    """Every command line that this process starts, from the interpreter's own audit."""

    def __init__(self) -> None:
        self.exposed: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event != "subprocess.Popen":
            return
        _program, argv, _folder, _environment = arguments
        words = argv if isinstance(argv, str) else " ".join(map(_text, argv))
        self.exposed += found_in(words)


def _text(word: Any) -> str:
    return word.decode(errors="replace") if isinstance(word, bytes) else str(word)
