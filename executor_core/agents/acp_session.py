"""What an agent of the Agent Client Protocol is told for a session, and what it tells of one."""

from __future__ import annotations

from typing import Any

from acp import schema

from executor_core.agents.mcp import McpServer


def kinds_of(abilities: schema.McpCapabilities) -> set[str]:
    """The kinds of tool servers that the agent takes; every agent starts programs."""
    return {"stdio"} | {kind for kind in ("http", "sse") if getattr(abilities, kind)}


def told_server(server: McpServer) -> Any:  # one of a union that the library does not name
    headers = [schema.HttpHeader(name=n, value=value) for n, value in server.headers.items()]
    match server.kind:
        case "http":
            return schema.HttpMcpServer(
                type="http", name=server.name, url=server.url, headers=headers
            )
        case "sse":
            return schema.SseMcpServer(
                type="sse", name=server.name, url=server.url, headers=headers
            )
    env = [schema.EnvVariable(name=n, value=value) for n, value in server.env.items()]
    return schema.McpServerStdio(
        name=server.name, command=server.command, args=list(server.args), env=env
    )


def chosen_model(options: list[Any]) -> tuple[str | None, frozenset[str]]:
    """The model of a session, and all that can be chosen."""
    for option in options:
        if isinstance(option, schema.SessionConfigOptionSelect) and option.category == "model":
            offered: set[str] = set()
            for entry in option.options:
                if isinstance(entry, schema.SessionConfigSelectGroup):
                    offered |= {inner.value for inner in entry.options}
                else:
                    offered.add(entry.value)
            return option.current_value, frozenset(offered)
    return None, frozenset()
