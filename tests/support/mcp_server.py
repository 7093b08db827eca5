"""A server of tools (Model Context Protocol over stdio) with one tool, `ping`; it is a program.

The tool answers with the argument that it was started with, and the variable `STUB_WORD`.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

PROGRAM = os.path.abspath(__file__)
WORD = "word-of-the-tool-server"


def config(argument: str = "hello", name: str = "stub") -> dict[str, dict[str, Any]]:
    """A task's servers: this one. `WORD` is a secret that only its environment may hold."""
    server = {"type": "stdio", "command": sys.executable, "args": [PROGRAM, argument]}
    return {name: server | {"env": {"STUB_WORD": WORD, "STUB_API_KEY": WORD}}}


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        if "id" in asked:
            answer = {"jsonrpc": "2.0", "id": asked["id"], "result": _result(asked)}
            print(json.dumps(answer), flush=True)


def _result(asked: dict[str, Any]) -> dict[str, Any]:
    match asked["method"]:
        case "initialize":
            return {
                "protocolVersion": asked["params"]["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "stub", "version": "1"},
            }
        case "tools/list":
            ping = {"name": "ping", "description": "Ping.", "inputSchema": {"type": "object"}}
            return {"tools": [ping]}
        case "tools/call":
            word = os.environ["STUB_WORD"]  # noqa: TID251  it is a program of its own
            return {"content": [{"type": "text", "text": f"pong {sys.argv[1]} {word}"}]}
    return {}


if __name__ == "__main__":
    main()
