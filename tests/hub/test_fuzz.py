"""Nonsense in every place of every route of the hub: it is refused in words, and work goes on."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator

import pytest

from executor_core.hub import Dialect
from tests.hub.conftest import TOKEN, Device, MakeWorld, World

pytestmark = pytest.mark.slow

DEEP = "[" * 300 + "]" * 300
VALUES = [
    "null", "true", "0", "-1", "1.5", "1e400", str(10**30), '""', '"x"', '"\\ud800"', '"\\u0000"',
    '"' + "é" * 1000 + '"', "[]", "[null]", "[[]]", "[1]", "[9e99]", '["x"]', "{}", '{"a": null}',
    '[{"a": []}]', DEEP, DEEP.replace("[", '{"a":[').replace("]", "]}"),
]  # fmt: skip
FIELDS = {
    "/api/auth/ticket": ["ticket"],
    "/api/hub/tokens": ["user"],
    "/api/hub/keys": ["user", "name"],
    "/api/tasks": ["prompt", "title", "agent", "device_id", "attachments", "skills", "payload"],
    "/api/tasks/{task_id}/messages": ["prompt", "attachments", "skills", "payload"],
}
PAYLOAD = [
    "bot", "model_config", "attachments", "mcp_servers", "skill_refs", "user", "task_id", "prompt",
    "workspace", "history", "no such field",
]  # fmt: skip
QUERIES = {
    "/api/tasks": ["limit", "before", "search"],
    "/api/attachments": ["name"],
    "/api/v1/kinds/skills": ["name", "namespace"],
}
WORDS = ["", "-1", "0", "9" * 30, "é", "%00", "%ff", "%ed%a0%80", "x" * 3000, "1e9", "%F0%9F%98%80"]
IDS = ["0", "1", "9" * 9, "9" * 15, "9" * 40, "x", "%00", "%ff", "%2e%2e", "é" * 100]
ENDLESS = {"/api/hub/events", "/socket.io/"}


def bodies(path: str) -> Iterator[str]:
    """Nonsense for a route: one wrong thing in an otherwise good body each."""
    yield from (*VALUES, "{", "\ud800", '{"prompt": "x"} x', "[" * 100_000)
    good = {"prompt": '"x"', "device_id": '"hw-1"'}
    for field, value in itertools.product(FIELDS.get(path, ["x"]), VALUES):
        yield as_object(good | {field: value})
    for field, value in itertools.product(PAYLOAD, VALUES):
        if "payload" in FIELDS.get(path, []):
            yield as_object(good | {"payload": as_object({field: value})})
            more = {field: value, "model_config": '{"model": "m"}'}
            yield as_object(good | {"payload": as_object(more)})


def as_object(fields: dict[str, str]) -> str:
    return "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in fields.items()) + "}"


def routes(world: World) -> Iterator[tuple[str, str]]:
    for route in world.listener.app.router.routes():
        assert route.resource is not None
        path = route.resource.canonical
        if route.method != "HEAD" and path not in ENDLESS and not path.startswith("/console"):
            yield route.method, path


def places(path: str) -> Iterator[str]:
    """Addresses of a route: ids of all kinds in its path, and words in its query."""
    names = ("{task_id}", "{number}", "{key_id}", "{device_id}")
    name = next((name for name in names if name in path), None)
    yield from (path.replace(name, one) for one in IDS) if name else [path]
    for query, word in itertools.product(QUERIES.get(path, []), WORDS):
        yield f"{path}?{query}={word}"


async def answered(device: Device, dialect: Dialect) -> None:
    """The device does what it was sent."""
    sent = await device.received("task:execute")
    if dialect == "responses":
        await device.complete(sent, "done")
    else:
        ids = {"task_id": sent["task_id"], "subtask_id": sent["subtask_id"]}
        await device.call("task:complete", ids | {"status": "COMPLETED", "result": {"value": "ok"}})


@pytest.mark.parametrize("dialect", ["responses", "progress"])
async def test_no_nonsense_is_an_error_of_the_hub_and_it_works_on(
    make_world: MakeWorld, dialect: Dialect
) -> None:
    world = await make_world(dialect)
    device = await world.registered()
    task = await world.owner.create()
    await answered(device, dialect)
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    statuses: Counter[int] = Counter()
    bad: list[str] = []
    # What deletes comes last: until then there is something to work with.
    for method, path in sorted(routes(world), key=lambda route: route[0] == "DELETE"):
        real = path.replace("{task_id}", str(task["id"])).replace("{device_id}", "hw-1")
        asked = [(place, b"{}") for place in places(path)]
        if method == "POST":
            asked += [(real, body.encode("utf-8", "surrogatepass")) for body in bodies(path)]
        for place, body in asked:
            async with world._http.request(
                method, place, data=body if method == "POST" else None, headers=headers
            ) as answer:
                said = await answer.read()
            statuses[answer.status] += 1
            if answer.status >= 500 or (answer.status >= 400 and not json.loads(said)["detail"]):
                bad.append(f"{answer.status} {method} {place[:100]} {body[:200]!r}: {said[:100]!r}")
            if answer.status == 200 and method == "POST" and "/api/tasks" in path:
                await answered(device, dialect)
    assert bad == []
    assert min(statuses[200], statuses[400], statuses[404]) > 50, statuses
    await device.register()
    await world.owner.create("still there", device_id="hw-1")
    await answered(device, dialect)
