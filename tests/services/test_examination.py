"""Checks run side by side, are told in order, and cannot hide each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import cast

import pytest

from executor_core.errors import ExecutorError
from executor_core.services.checks import Examination
from executor_core.services.examination import DoctorCheck, examine
from executor_core.services.interface import Check, Verdict


def good(name: str) -> Check:
    return Check(name=name, title=name, verdict=Verdict.OK)


def check(
    name: str, work: Callable[[], Awaitable[tuple[Check, ...]]], limit_s: float = 5
) -> DoctorCheck:
    return DoctorCheck(name, lambda _: work(), limit_s)


def told(checks: list[DoctorCheck]) -> AsyncGenerator[Check, None]:
    return examine(checks, cast("Examination", None))  # these need nothing of it


async def test_they_run_side_by_side_and_are_told_in_order() -> None:
    second_is_done = asyncio.Event()

    async def first() -> tuple[Check, ...]:
        await second_is_done.wait()
        return (good("disk"),)

    async def second() -> tuple[Check, ...]:
        second_is_done.set()
        return (good("agent.a"), good("agent.b"))

    found = [one.name async for one in told([check("disk", first), check("agent", second)])]
    assert found == ["disk", "agent.a", "agent.b"]


async def test_one_that_hangs_fails_or_breaks_is_a_failed_check(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def hangs() -> tuple[Check, ...]:
        await asyncio.Event().wait()
        return ()

    async def refuses() -> tuple[Check, ...]:
        raise ExecutorError("port_taken", port=8090)

    async def breaks() -> tuple[Check, ...]:
        raise RuntimeError("secret detail")

    async def works() -> tuple[Check, ...]:
        return (good("git"),)

    given = [
        check("disk", hangs, 0.05),
        check("port", refuses),
        check("agent", breaks),
        check("git", works),
    ]
    hung, refused, broken, worked = [one async for one in told(given)]
    assert [one.verdict for one in (hung, refused, broken)] == ["failed"] * 3
    assert "0.05 s" in hung.reason
    assert "8090" in refused.reason
    assert refused.hint
    assert "RuntimeError" in broken.reason
    assert "secret detail" not in broken.reason
    assert "secret detail" in caplog.text
    assert worked.verdict == "ok"


async def test_a_reader_that_leaves_ends_the_rest() -> None:
    is_cancelled = asyncio.Event()

    async def works() -> tuple[Check, ...]:
        return (good("git"),)

    async def goes_on() -> tuple[Check, ...]:
        try:
            await asyncio.Event().wait()
        finally:
            is_cancelled.set()
        return ()

    checks = told([check("git", works), check("disk", goes_on)])
    assert (await anext(checks)).name == "git"
    await checks.aclose()
    assert is_cancelled.is_set()
