"""Reads a task's tool servers (MCP) in all their shapes, and fills in their placeholders."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from executor_core.links.device.fields import Json, fields_of, first_of, items_of, text_of
from executor_core.model import Notice, is_secret_name
from executor_core.texts import text

MAX_SERVERS = 50
MAX_VALUE = 64 * 1024
"""Characters of one setting, filled in."""

_PLACEHOLDER = re.compile(r"\$\{\{\s*([^{}]{1,200}?)\s*\}\}")
_WRAPPERS = ("mcpServers", "mcp_servers")
_KINDS = {
    "": "http",
    "http": "http",
    "streamable-http": "http",
    "streamable_http": "http",
    "streamablehttp": "http",
    "sse": "sse",
}


class McpServers(Struct, frozen=True):
    """The servers by name, as in RunRequest; a notice for each that is left out; and the secrets
    that were filled in."""

    servers: dict[str, Json]
    notices: tuple[Notice, ...]
    secrets: tuple[str, ...]


class _Missing(Exception):
    """A placeholder names what the task does not bring."""


class _Exposed(Exception):
    """A placeholder would put a secret where every user of this computer can read it."""


def read_mcp_servers(body: Json, *, server: str) -> McpServers:
    """What the task says of tool servers.

    The bot's own entry goes before one of the same name in the task. `${{backend_url}}` is
    `server`; every other path leads into the task, so that the token of the connection, which these
    servers must not get, is not among them.
    """
    task_token = text_of(body.get("task_token")) or text_of(body.get("auth_token"))
    fill = _Fill(body | {"backend_url": server, "task_token": task_token})
    servers: dict[str, Json] = {}
    notices: list[Notice] = []
    for name, config in _configs(body):
        try:
            servers[name] = _server(config, fill)
        except _Missing as error:
            words = text("notice.mcp_value_missing", name=name, value=error)
            notices.append(Notice(code="mcp_left_out", text=words))
        except _Exposed as error:
            words = text("notice.mcp_secret_exposed", name=name, value=error)
            notices.append(Notice(code="mcp_left_out", text=words))
        except ValueError:
            words = text("notice.mcp_unusable", name=name)
            notices.append(Notice(code="mcp_left_out", text=words))
        if len(servers) + len(notices) >= MAX_SERVERS:
            break
    return McpServers(servers, tuple(notices), tuple(fill.secrets))


class _Fill:
    """Fills placeholders from `values`, and remembers which secrets it filled in."""

    def __init__(self, values: Json) -> None:
        self._values = values
        self.secrets: dict[str, None] = {}

    def __call__(self, value: object, *, is_open: bool = False) -> str:
        """`value` as a text. What `is_open` must hold no secret: nothing can hide it there."""

        def found(match: re.Match[str]) -> str:
            path = match[1]
            words = _value_at(self._values, path)
            if is_secret_name(path):
                if is_open:
                    raise _Exposed(_placeholder(path))
                self.secrets[words] = None
            return words

        words = _PLACEHOLDER.sub(found, _word(value))
        if len(words) > MAX_VALUE:
            raise ValueError("too long")
        return words


def _placeholder(path: str) -> str:
    return f"${{{{{path}}}}}"


def _configs(body: Json) -> Iterator[tuple[str, Json]]:
    """The winning configuration of every name; what has no name of its own replaces nothing."""
    found: dict[str, Json] = {}
    numbers = itertools.count(1)
    for source in (
        body.get("system_mcp_config"),
        body.get("mcp_servers"),
        first_of(body.get("bot")).get("mcp_servers"),
    ):
        found |= dict(_named(source, numbers))
    yield from found.items()


def _named(source: object, numbers: Iterator[int]) -> Iterator[tuple[str, Json]]:
    """A list whose entries have names, or an object by name that may be wrapped once."""
    seen: set[str] = set()
    for entry, number in zip(items_of(source), numbers, strict=False):
        config = fields_of(entry)
        name = text_of(config.get("name"))
        is_its_own = name and name not in seen
        yield (name if is_its_own else f"{name or 'server'}-{number}"), config
        seen.add(name)
    servers = fields_of(source)
    for wrapper in _WRAPPERS:
        if isinstance(servers.get(wrapper), dict | list):
            yield from _unwrapped(servers[wrapper], numbers)
            return
    yield from _unwrapped(servers, numbers)


def _unwrapped(source: Any, numbers: Iterator[int]) -> Iterator[tuple[str, Json]]:
    if isinstance(source, list):
        yield from _named(source, numbers)
    else:
        yield from ((name or "server", fields_of(config)) for name, config in source.items())


def _server(config: Json, fill: _Fill) -> Json:
    """One configuration in our own form.

    Raises _Missing, _Exposed, or ValueError for what is no server.
    """
    kind = text_of(config.get("type") or config.get("transport")).lower()
    if config.get("command") and kind in ("", "stdio"):
        return {
            "type": "stdio",
            "command": fill(config["command"], is_open=True),
            "args": [fill(value, is_open=True) for value in items_of(config.get("args"))],
            "env": _filled(config.get("env"), fill),
        }
    url = fill(config.get("url") or config.get("base_url"))
    if not url.startswith(("http://", "https://")):
        raise ValueError("no address")
    headers = fields_of(config.get("auth")) | fields_of(config.get("headers"))
    try:
        return {"type": _KINDS[kind], "url": url, "headers": _filled(headers, fill)}
    except KeyError as error:
        raise ValueError(kind) from error


def _filled(values: object, fill: _Fill) -> dict[str, str]:
    entries = fields_of(values).items()
    return {name: fill(value) for name, value in entries if value is not None}


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise ValueError("no text")


def _value_at(values: Json, path: str) -> str:
    """What `path.to.field` leads to in the task, as a text; numbers count into lists."""
    value: Any = values
    for part in path.split("."):
        if isinstance(value, list) and part.isdecimal() and int(part[:9]) < len(value):
            value = value[int(part[:9])]
        else:
            value = fields_of(value).get(part)
    if isinstance(value, str | int | float) and value != "":
        return _word(value)
    raise _Missing(_placeholder(path))
