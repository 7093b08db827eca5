"""Every operation of the description under a schema-driven fuzzer, over a real socket.

Not tried here: what ends the executor, and the one stream that never ends.
"""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import hypothesis
import pytest

from executor_core.jobs import Jobs
from executor_core.web import OWNER
from tests.api.conftest import documented
from tests.support.office import RICH, TOKEN, Office

EXAMPLES = 40
LEFT_OUT = {
    ("POST", "/api/drain"),
    ("POST", "/api/stop"),
    ("GET", "/api/status/events"),
}
HEADERS = {"Authorization": f"Bearer {TOKEN}"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def schemathesis() -> Any:
    """Imported late: it takes a second, which only this file needs."""
    return pytest.importorskip("schemathesis")


async def play(office: Office) -> None:
    """An agent that answers everything at once."""
    while True:
        playing = await office.agent.started(300)
        for event in RICH:
            playing.emit(event)
        playing.finish()


def fuzz(schemathesis: Any, document: dict[str, Any], base: str, method: str, path: str) -> int:
    """Try one operation with what fits its schema and with what does not. How often, at last."""
    from schemathesis import checks
    from schemathesis.specs.openapi import checks as openapi_checks

    schema = schemathesis.openapi.from_dict(document)
    operation = schema[path][method]
    wanted = [
        checks.not_a_server_error,
        openapi_checks.status_code_conformance,
        openapi_checks.content_type_conformance,
        openapi_checks.response_schema_conformance,
    ]
    tried = 0
    for mode in schemathesis.GenerationMode:

        @hypothesis.settings(
            max_examples=EXAMPLES,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        def run(case: Any) -> None:
            nonlocal tried
            tried += 1
            answer = case.call(base_url=base, headers=HEADERS, timeout=30)
            case.validate_response(answer, checks=wanted)

        try:
            run()
        except hypothesis.errors.Unsatisfiable:
            continue  # an operation without parameters has no wrong ones
    return tried


async def test_no_request_brings_a_server_error_or_an_answer_that_is_not_described(
    office: Office, schemathesis: Any
) -> None:
    await asyncio.to_thread(office.users.put, OWNER, "correct horse")
    office.services.grown.set()
    office.services.may_install.set()
    run_id = await office.complete(*RICH)
    http = await office.client(TOKEN)
    async with http.get("/openapi.json") as answer:
        document = await answer.json()
    # Fuzzed ids are never those of something that is there: give each path a real one as well.
    for path, ways in document["paths"].items():
        real = run_id if "{run_id}" in path else "codex" if path.startswith("/api/agents/") else ""
        for way in ways.values() if real else ():
            way["parameters"][0]["schema"] = {"anyOf": [{"type": "string"}, {"const": real}]}
    jobs = Jobs("fuzz")
    jobs.spawn(play(office), "play")
    tried = {}
    for method, path in documented(document):
        if (method, path) in LEFT_OUT:
            continue
        await office.local.resume()
        attempt = functools.partial(
            fuzz, schemathesis, document, office.listener.base_url, method, path
        )
        tried[(method, path)] = await asyncio.to_thread(attempt)
    await jobs.close()
    assert min(tried.values()) > 0, tried
    assert sum(tried.values()) > 10 * len(tried), tried
