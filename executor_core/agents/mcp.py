"""The servers of tools that a task brings, read once for all agents.

They stay servers of the agent: this room starts none and speaks to none.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from msgspec import field
from msgspec.structs import replace

from executor_core.agents.failures import notice
from executor_core.agents.json_access import as_dict, as_str
from executor_core.model import Notice, Value, is_secret_name
from executor_core.texts import text

ALL_KINDS = frozenset({"stdio", "http", "sse"})
MAX_NAME = 64

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")


class McpServer(Value, kw_only=True, frozen=True):
    """`kind` is stdio (with `command`), http or sse (with `url`). Much of it may be secret.

    `name` is what the agent is told: its tools are named after it. `title` is what people call it.
    """

    name: str
    kind: str
    title: str = ""
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
    names = distinct_names(configured)
    found = [_server(names[title], title, config) for title, config in configured.items()]
    readers = [server for server in found if expands and any(map(expands.search, _texts(server)))]
    found = [server for server in found if server not in readers]
    left_out = [server for server in found if server.kind not in takes]
    notices = [
        notice("notice.mcp_left_out", agent=agent, name=one.title, kind=one.kind or "?")
        for one in left_out
    ] + [
        notice("notice.mcp_reads", code="mcp_left_out", agent=agent, name=one.title)
        for one in readers
    ]
    return [server for server in found if server.kind in takes], notices


class ToolServers:
    """What becomes of a task's servers of tools, as far as the agent tells.

    A server that did not start is missed only by who knows that it should be there: the person.
    """

    def __init__(self, servers: Iterable[McpServer], agent: str) -> None:
        self._titles = {server.name: server.title for server in servers}
        self._agent = agent
        self._starting: set[str] = set()
        self._failed: set[str] = set()

    def told(self, name: str, state: str, reason: str = "") -> Iterator[Notice]:
        """The agent says `state` of the server: `starting`, `ready`, or one in which it is dead."""
        self._starting.discard(name)
        if state == "starting":
            self._starting.add(name)
        elif state != "ready" and name not in self._failed:
            self._failed.add(name)
            key = "mcp.needs_login" if state == "needs-auth" else "mcp.not_started"
            yield self._missing(name, reason or text(key))

    @property
    def are_starting(self) -> bool:
        """Whether it may still turn out that one of them did not start."""
        return bool(self._starting - self._failed)

    def still_missing(self) -> Iterator[Notice]:
        """The turn is over: what is still starting was not there for it."""
        for name in sorted(self._starting - self._failed):
            self._failed.add(name)
            yield self._missing(name, text("mcp.still_starting"))

    def _missing(self, name: str, reason: str) -> Notice:
        title = self._titles.get(name, name)
        return notice("notice.mcp_dead", agent=self._agent, name=title, reason=reason)


def distinct_names(titles: Iterable[str]) -> dict[str, str]:
    """A name for each of `titles`, no two of them equal.

    Models and agents take letters, digits, `_` and `-` in the names of tools, and a server's name
    is part of these. What is called so already keeps its name.
    """
    titles = list(titles)
    taken = {title: title for title in titles if _tidy(title) == title}
    for title in titles:
        if title not in taken:
            tidy = _tidy(title)
            names = itertools.chain([tidy], (f"{tidy}_{number}" for number in itertools.count(2)))
            taken[title] = next(name for name in names if name not in taken.values())
    return taken


def _tidy(title: str) -> str:
    name = _NOT_IN_NAMES.sub("_", title)[:MAX_NAME]
    return name if name.strip("_") else "server"


def without_keys(server: McpServer, env: Mapping[str, str]) -> McpServer:
    """`server` for an agent that hands its whole environment `env` on to the programs it starts.

    A task's program gets what the task gives it, and none of the owner's keys.
    """
    hidden = {name: "" for name in env if is_secret_name(name) and name != "SSH_AUTH_SOCK"}
    return replace(server, env=hidden | server.env) if server.kind == "stdio" else server


def _texts(server: McpServer) -> Iterator[str]:
    yield from (server.command, *server.args, *server.env.values())
    yield from (server.url, *server.headers.values())


def _server(name: str, title: str, config: Mapping[str, Any]) -> McpServer:
    command, url = as_str(config.get("command")), as_str(config.get("url"))
    kind = as_str(config.get("type")) or ("stdio" if command else "http")
    args = config.get("args")
    return McpServer(
        name=name,
        title=title,
        kind=kind if (command if kind == "stdio" else url) else "",
        command=command,
        args=tuple(map(str, args)) if isinstance(args, list | tuple) else (),
        env=_strings(config.get("env")),
        url=url,
        headers=_strings(config.get("headers")),
    )


def _strings(values: object) -> dict[str, str]:
    return {str(name): str(value) for name, value in as_dict(values).items() if value is not None}
