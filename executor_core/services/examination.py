"""All checks side by side, told in a fixed order; none of them can hold up or hide the others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from executor_core.errors import ExecutorError
from executor_core.jobs import Jobs
from executor_core.services.interface import Check, Verdict
from executor_core.services.words import check, title_of

_log = logging.getLogger("executor.services")


@dataclass(frozen=True)
class Look:
    """One look: `work` comes to one check of the name `name`, or to several named `name.…`."""

    name: str
    limit_s: float
    work: Callable[[], Awaitable[Iterable[Check]]]


async def examine(looks: Sequence[Look]) -> AsyncGenerator[Check, None]:
    """Every check as soon as it and those before it are done."""
    jobs = Jobs("health")
    try:
        started = [jobs.spawn(look_once(look), look.name) for look in looks]
        for job in started:
            for found in await job:
                yield found
    finally:
        await jobs.close()


async def look_once(look: Look) -> tuple[Check, ...]:
    """What the look comes to, at its limit and where it fails too."""
    try:
        async with asyncio.timeout(look.limit_s):
            return tuple(await look.work())
    except TimeoutError:
        limit = f"{look.limit_s:g}"
        return (check(look.name, Verdict.FAILED, "examination.limit", seconds=limit),)
    except ExecutorError as error:
        return (_said(look.name, error),)
    except Exception as error:  # the top of a job: a doctor that falls ill helps nobody
        _log.exception("the check %s failed", look.name)
        kind = type(error).__name__
        return (check(look.name, Verdict.FAILED, "examination.broken", kind=kind),)


def _said(name: str, error: ExecutorError) -> Check:
    info = error.info
    reason = " ".join(part for part in (info.title + ":", info.detail) if part)
    return Check(
        name=name,
        title=title_of(name),
        verdict=Verdict.FAILED,
        reason=reason,
        hint=info.hint,
    )
