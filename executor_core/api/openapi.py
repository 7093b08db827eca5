"""The description of the routes, made of the same table that serves them. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from executor_core.control.endpoint import Endpoint
from executor_core.texts import Message

_Json = dict[str, Any]


class Refusal(Struct):
    """What every error is answered with; `detail` is all of it in one paragraph."""

    error: Message
    detail: str
    run_id: str | msgspec.UnsetType = msgspec.UNSET


def document(routes: Sequence[Endpoint], version: str) -> _Json:
    """The OpenAPI 3.1 document of these routes."""
    types = [kind for route in routes for kind in (route.sent, route.body, route.query) if kind]
    # Only whole bodies get schemas that others point to; a union of them is one as well.
    schemas, components = msgspec.json.schema_components(
        [*types, Refusal], ref_template="#/components/schemas/{name}"
    )
    known = iter(schemas)
    refusal = schemas[-1]
    paths: dict[str, _Json] = {}
    for route in routes:
        gives, body, query = (next(known) if kind else None for kind in _kinds(route))
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(
            route, gives, body, _parameters(route, components, query), refusal
        )
    return {
        "openapi": "3.1.0",
        "info": {"title": "Wegent Executor", "version": version},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "query": {"type": "apiKey", "in": "query", "name": "access_token"},
            },
        },
    }


def _kinds(route: Endpoint) -> tuple[Any, Any, Any]:
    return (route.sent, route.body, route.query)


def _operation(
    route: Endpoint,
    gives: _Json | None,
    body: _Json | None,
    parameters: list[_Json],
    refusal: _Json,
) -> _Json:
    kind = "text/event-stream" if route.is_stream else "application/json"
    shape = _event(gives) if route.is_stream else gives
    if route.sent is bytes:
        kind, shape = "application/octet-stream", {}
    operation: _Json = {
        "summary": route.summary,
        "operationId": _name(route),
        "responses": {
            "200": {"description": route.summary, "content": {kind: {"schema": shape}}},
            **_refusals(route, refusal),
        },
        "security": _security(route),
    }
    if parameters:
        operation["parameters"] = parameters
    if body is not None:
        content = {"application/json": {"schema": body}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _refusals(route: Endpoint, refusal: _Json) -> _Json:
    """The codes of its own errors by their status, and whatever else may be wrong."""
    codes: dict[str, list[str]] = {}
    for code, status in route.errors.items():
        codes.setdefault(str(status), []).append(code)
    words = {status: ", ".join(named) for status, named in codes.items()}
    words["default"] = "What is wrong, and what to do"
    content = {"application/json": {"schema": refusal}}
    return {status: {"description": said, "content": content} for status, said in words.items()}


def _event(gives: _Json | None) -> _Json:
    """One event of a stream: its data is one line of JSON."""
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": gives}
    return {
        "type": "object",
        "properties": {"id": {"type": "string"}, "event": {"type": "string"}, "data": data},
        "required": ["id", "event", "data"],
    }


def _security(route: Endpoint) -> list[_Json]:
    if route.is_public:
        return []
    # Clients that cannot set headers cannot post either.
    by_query: list[_Json] = [{"query": []}] if route.is_stream and route.method == "GET" else []
    return [{"bearer": []}, *by_query]


def _name(route: Endpoint) -> str:
    words = re.findall(r"[a-z]+", f"{route.method} {route.path.removeprefix('/api')}".lower())
    return "_".join(words)


def _parameters(route: Endpoint, components: _Json, query: _Json | None) -> list[_Json]:
    """Those in the path, those of the query, and where a stream is taken up again."""
    found = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", route.path)
    ]
    fields = components[query["$ref"].rpartition("/")[2]]["properties"] if query else {}
    found += [_optional(name, "query", schema) for name, schema in fields.items()]
    if route.can_resume:
        found.append(_optional("Last-Event-ID", "header", {"type": "string"}))
    return found


def _optional(name: str, place: str, schema: _Json) -> _Json:
    return {"name": name, "in": place, "required": False, "schema": schema}
