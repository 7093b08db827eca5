"""The servers of tools that a task brings, read once for all agents.

They stay servers of the agent: this room starts none and speaks to none.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from msgspec import field
from msgspec.structs import replace

from executor_core.agents.loose_json import as_dict, as_str
from executor_core.model import Notice, Value, is_secret_name
from executor_core.texts import text

ALL_KINDS = frozenset({"stdio", "http", "sse"})


class McpServer(Value, kw_only=True, frozen=True):
    """`kind` is stdio (with `command`), http or sse (with `url`). Much of it may be secret."""

    name: str
    kind: str
    command: str = ""
    args: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    url: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"McpServer({self.name!r}, {self.kind!r})"


def mcp_servers(
    configured: Mapping[str, Mapping[str, Any]],
    *,
    agent: str,
    takes: Collection[str] = ALL_KINDS,
    expands: re.Pattern[str] | None = None,
) -> tuple[list[McpServer], list[Notice]]:
    """Those that `agent` (its title) can use, and a notice for each that it cannot.

    `takes` are the kinds that it understands. `expands` finds what it would replace by a variable
    of the owner's, which could so be sent to any host. `configured` is as in a RunRequest; one that
    names neither a command nor an address is of no kind.
    """
    found = [_server(name, config) for name, config in configured.items()]
    readers = [server for server in found if expands and any(map(expands.search, _texts(server)))]
    found = [server for server in found if server not in readers]
    left_out = [server for server in found if server.kind not in takes]
    notices = [
        Notice(
            code="mcp_left_out",
            text=text("notice.mcp_left_out", agent=agent, name=one.name, kind=one.kind or "?"),
        )
        for one in left_out
    ] + [
        Notice(code="mcp_left_out", text=text("notice.mcp_reads", agent=agent, name=one.name))
        for one in readers
    ]
    return [server for server in found if server.kind in takes], notices


def without_keys(server: McpServer, env: Mapping[str, str]) -> McpServer:
    """`server` for an agent that hands its whole environment `env` on to the programs it starts.

    A task's program gets what the task gives it, and none of the owner's keys.
    """
    hidden = {name: "" for name in env if is_secret_name(name) and name != "SSH_AUTH_SOCK"}
    return replace(server, env=hidden | server.env) if server.kind == "stdio" else server


def _texts(server: McpServer) -> Iterator[str]:
    yield from (server.command, *server.args, *server.env.values())
    yield from (server.url, *server.headers.values())


def _server(name: str, config: Mapping[str, Any]) -> McpServer:
    command, url = as_str(config.get("command")), as_str(config.get("url"))
    kind = as_str(config.get("type")) or ("stdio" if command else "http")
    args = config.get("args")
    return McpServer(
        name=name,
        kind=kind if (command if kind == "stdio" else url) else "",
        command=command,
        args=tuple(map(str, args)) if isinstance(args, list | tuple) else (),
        env=_strings(config.get("env")),
        url=url,
        headers=_strings(config.get("headers")),
    )


def _strings(values: object) -> dict[str, str]:
    return {str(name): str(value) for name, value in as_dict(values).items() if value is not None}
