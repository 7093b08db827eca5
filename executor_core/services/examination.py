"""What a check is, and all of them side by side: none can hold up or hide the others.

A check is one function that `doctor_check` declares, and sentences: `check.<name>.title`, then for
each case `check.<case>` and, where there is something to do, `check.<case>.hint`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from executor_core.errors import ExecutorError
from executor_core.jobs import Jobs
from executor_core.services.interface import Check, Verdict
from executor_core.texts import has_text, text

if TYPE_CHECKING:
    from executor_core.services.checks import Examination

LIMIT_S = 15.0
_log = logging.getLogger("executor.services")

Work: TypeAlias = "Callable[[Examination], Awaitable[Check | tuple[Check, ...]]]"
Fix: TypeAlias = "Callable[[Examination], Awaitable[object]]"


@dataclass(frozen=True)
class DoctorCheck:
    """One thing to look at; it comes to one check of that name, or to several named `name.…`.

    In the case `fixable`, `fix` puts it right, as the sentence `check.<case>.fix` says.
    """

    name: str
    work: Work
    limit_s: float = LIMIT_S
    fixable: str = ""
    fix: Fix | None = None


CHECKS: dict[str, DoctorCheck] = {}
"""In the order in which they are told, which is that of their declaration."""


def doctor_check(
    name: str, *, limit_s: float = LIMIT_S, fixable: str = "", fix: Fix | None = None
) -> Callable[[Work], Work]:
    """Declare the check `name`."""

    def declare(work: Work) -> Work:
        CHECKS[name] = DoctorCheck(name, work, limit_s, fixable, fix)
        return work

    return declare


def title_of(name: str) -> str:
    """What the check is called; with the part after the dot, where there are several of a kind."""
    kind, _, one = name.partition(".")
    return text(f"check.{kind}.title", one=one).strip()


def said(name: str, verdict: Verdict, case: str, /, **values: object) -> Check:
    """The check `name` in the case `case`, for example `disk.low`."""
    hint = f"check.{case}.hint"
    known = CHECKS.get(name)
    is_fixable = known is not None and known.fixable == case
    return Check(
        name=name,
        title=title_of(name),
        verdict=verdict,
        reason=text(f"check.{case}", language=None, **values),
        hint=text(hint, language=None, **values) if has_text(hint) else "",
        fix=text(f"check.{case}.fix", language=None, **values) if is_fixable else None,
    )


async def examine(
    checks: Iterable[DoctorCheck], examination: Examination
) -> AsyncGenerator[Check, None]:
    """Every check as soon as it and those before it are done."""
    jobs = Jobs("doctor")
    try:
        started = [jobs.spawn(run_check(one, examination), one.name) for one in checks]
        for job in started:
            for found in await job:
                yield found
    finally:
        await jobs.close()


async def run_check(check: DoctorCheck, examination: Examination) -> tuple[Check, ...]:
    """What the check comes to, at its limit and where it fails too."""
    name = check.name
    try:
        async with asyncio.timeout(check.limit_s):
            found = await check.work(examination)
            return found if isinstance(found, tuple) else (found,)
    except TimeoutError:
        limit = f"{check.limit_s:g}"
        return (said(name, Verdict.FAILED, "examination.limit", seconds=limit),)
    except ExecutorError as error:
        return (_failed(name, error),)
    except Exception as error:  # the top of a job: a doctor that falls ill helps nobody
        _log.exception("the check %s failed", name)
        kind = type(error).__name__
        return (said(name, Verdict.FAILED, "examination.broken", kind=kind),)


def _failed(name: str, error: ExecutorError) -> Check:
    info = error.message
    reason = " ".join(part for part in (info.title + ":", info.detail) if part)
    return Check(
        name=name, title=title_of(name), verdict=Verdict.FAILED, reason=reason, hint=info.hint
    )
