"""The servers of tools that a task brings, read once for all agents.

They stay servers of the agent: this room starts none and speaks to none.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from msgspec import field

from executor_core.agents.loose_json import as_dict, as_str
from executor_core.model import Notice, Value
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
    configured: Mapping[str, Mapping[str, Any]], *, agent: str, takes: Collection[str] = ALL_KINDS
) -> tuple[list[McpServer], list[Notice]]:
    """Those that `agent` (its title) can use, and a notice for each that it cannot.

    `takes` are the kinds that it understands. `configured` is as in a RunRequest; one that names
    neither a command nor an address is of no kind.
    """
    found = [_server(name, config) for name, config in configured.items()]
    left_out = [server for server in found if server.kind not in takes]
    notices = [
        Notice(
            code="mcp_left_out",
            text=text("notice.mcp_left_out", agent=agent, name=one.name, kind=one.kind or "?"),
        )
        for one in left_out
    ]
    return [server for server in found if server.kind in takes], notices


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
