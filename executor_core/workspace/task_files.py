"""Fetches what a task brings before its agent starts, and tells agent and person about it.

Nothing of it is fatal: what cannot be had is named in the prompt and in a notice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec import Struct, field
from msgspec.structs import replace

from executor_core.clock import Clock
from executor_core.jobs import is_first
from executor_core.model import Notice, RunRequest, TaskFiles
from executor_core.texts import text
from executor_core.workspace.attachments import (
    Fetched,
    fetch_attachments,
    pictures,
    with_attachments,
)
from executor_core.workspace.fetch import Unusable, server_session
from executor_core.workspace.skills import (
    LEDGER,
    Placed,
    SkillCache,
    SkillPlace,
    place_skills,
    remove_skills,
)

MAX_SKILLS = 50

Emit = Callable[[Notice], None]


class Site(Struct, frozen=True, kw_only=True):
    """Where a run works: `folder`, for a task whose own folder is `task_folder`.

    `scratch` is the run's own folder; `private_home` is the agent's, where the task pays for it.
    """

    folder: Path
    task_folder: str
    scratch: Path
    agent: str
    private_home: Path | None


class Places(Struct, frozen=True, kw_only=True):
    """Where the files of one run's task go. `scratch` is the run's own folder."""

    scratch: Path
    attachments: Path
    skills: SkillPlace


class FileFetcher:
    """Fetches the attachments and skills of tasks.

    `clears_cache`: a new conversation gets its skills fetched anew.
    """

    def __init__(self, skills_cache: Path, *, clears_cache: bool, clock: Clock) -> None:
        self._cache = SkillCache(skills_cache)
        self._clears_cache = clears_cache
        self._clock = clock

    @asynccontextmanager
    async def fetched(
        self,
        request: RunRequest,
        places: Places,
        *,
        is_follow_up: bool,
        emit: Emit,
        stop: asyncio.Event,
    ) -> AsyncIterator[RunRequest]:
        """Everything is there inside the block, which gets the request that says so.

        When `stop` is set meanwhile, the block begins at once with less. Skills go with its end.
        """
        wanted = request.task_files
        got = _Fetched()
        if wanted.attachments or wanted.skills:
            is_fresh = self._clears_cache and not is_follow_up
            emit(_announcement(wanted))
            await is_first(self._fetch(request, places.attachments, is_fresh, got), stop.wait())
        async with _placed(got.archives, places, request.run_id) as placed:
            too_many = text("skill.too_many", limit=MAX_SKILLS)
            over = [Placed(name=one.name, problem=too_many) for one in wanted.skills[MAX_SKILLS:]]
            skills = [*got.missing, *placed, *over]
            for problem in _problems(got.attachments, skills):
                emit(problem)
            prompt = _prompt(request, got.attachments, skills, places.skills)
            # Newer servers put the pictures among their attachments into the prompt themselves.
            images = request.images or await asyncio.to_thread(pictures, got.attachments)
            yield replace(request, prompt=prompt, images=images)

    async def _fetch(
        self, request: RunRequest, folder: Path, is_fresh: bool, got: _Fetched
    ) -> None:
        wanted, task_id = request.task_files, request.task_id
        address = request.address or wanted.server
        async with server_session(wanted.server, wanted.token, self._clock) as server:
            got.attachments += await fetch_attachments(server, wanted.attachments, folder)
            for skill in wanted.skills[:MAX_SKILLS]:
                try:
                    archive = await self._cache.archive(
                        server, skill, address=address, task_id=task_id, is_fresh=is_fresh
                    )
                except Unusable as error:
                    got.missing.append(Placed(name=skill.name, problem=str(error)))
                else:
                    got.archives.append((skill.name, archive))


class _Fetched(Struct):
    """What has come so far: skills are archives by name, `missing` those that cannot be had."""

    attachments: list[Fetched] = field(default_factory=list)
    archives: list[tuple[str, Path]] = field(default_factory=list)
    missing: list[Placed] = field(default_factory=list)


@asynccontextmanager
async def _placed(
    archives: Sequence[tuple[str, Path]], places: Places, run_id: str
) -> AsyncIterator[list[Placed]]:
    """The skills are there inside the block."""
    if not archives:
        yield []
        return
    ledger = places.scratch / LEDGER
    placing = asyncio.get_running_loop().run_in_executor(
        None, place_skills, archives, places.skills, run_id, ledger
    )
    try:
        # A thread cannot be cancelled: what it puts down must be there to be removed.
        yield await asyncio.shield(placing)
    finally:
        await asyncio.wait({placing})
        await asyncio.to_thread(remove_skills, ledger, run_id)


def _announcement(wanted: TaskFiles) -> Notice:
    words = text(
        "notice.fetching",
        attachments=len(wanted.attachments),
        skills=len(wanted.skills),
    )
    return Notice(code="fetching", text=words)


def _problems(fetched: Sequence[Fetched], placed: Sequence[Placed]) -> list[Notice]:
    notices = [
        Notice(
            code="attachment_failed",
            text=text("notice.attachment_failed", name=one.name, reason=one.problem),
        )
        for one in fetched
        if one.problem
    ]
    notices += [
        Notice(
            code="skill_failed", text=text("notice.skill_failed", name=one.name, reason=one.problem)
        )
        for one in placed
        if one.problem
    ]
    return notices


def _prompt(
    request: RunRequest, fetched: Sequence[Fetched], placed: Sequence[Placed], place: SkillPlace
) -> str:
    """What the agent is told. These words are for the model, so they are English."""
    prompt = with_attachments(request.prompt, fetched)
    usable = {one.name: one.path for one in placed if one.path is not None}
    preferred = [name for name in request.task_files.preferred_skills if name in usable]
    parts: list[str] = []
    if preferred:
        parts.append(f"The user picked these skills; use them first: {', '.join(preferred)}.")
    if usable and not place.is_known_to_agent:
        lines = "\n".join(f"- {name}: {path}" for name, path in usable.items())
        parts.append(
            "Skills for this task are in these folders. Read the SKILL.md of each that fits before"
            f" you begin:\n{lines}"
        )
    return "\n\n".join([*parts, prompt])
