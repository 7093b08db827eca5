"""Reads who else works on a task, and which conversation it goes on from."""

from __future__ import annotations

import re
from collections.abc import Iterable

from executor_core.links.device.fields import Json, fields_of, items_of, positive, text_of
from executor_core.model import Member

MAX_MEMBERS = 20
_MAX_DESCRIPTION = 500
_SESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_CLAUDE_CODE = "claudecode"


def read_members(body: Json) -> tuple[Member, ...]:
    """The bots behind the first, whom that one may hand work to, in a team that is coordinated.

    In other teams the server asks one bot after the other.
    """
    if text_of(body.get("mode")) != "coordinate":
        return ()
    bots = [fields_of(bot) for bot in items_of(body.get("bot"))]
    return tuple(_members(bots[1 : MAX_MEMBERS + 1]))


def _members(bots: Iterable[Json]) -> Iterable[Member]:
    for number, bot in enumerate(bots, start=1):
        name = text_of(bot.get("name")).strip()
        prompt = text_of(bot.get("system_prompt")).strip()
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60]
        # The id, because names in Chinese have no letters, and two may be alike.
        unique = f"{slug or 'member'}-{positive(bot.get('id')) or f'n{number}'}"
        first_line = prompt.partition("\n")[0]
        described = text_of(bot.get("description")) or text_of(bot.get("role")) or first_line
        description = " ".join(f"{name}: {described}".split())[:_MAX_DESCRIPTION]
        yield Member(name=unique, description=description, prompt=prompt or description)


def inherited_session(body: Json, bot: Json) -> str | None:
    """The conversation of Claude Code that a forked task brings (servers from 2026-05).

    The other agents have no way to go on from one without going on in it.
    """
    for entry in map(fields_of, items_of(body.get("inherited_sessions"))):
        agent = re.sub(r"[^a-z]", "", text_of(entry.get("agent")).lower())
        said = positive(entry.get("botId") or entry.get("bot_id"))
        session_id = text_of(entry.get("sessionId")) or text_of(entry.get("session_id"))
        is_for_it = said is None or said == positive(bot.get("id"))
        if agent == _CLAUDE_CODE and is_for_it and _SESSION.fullmatch(session_id):
            return session_id
    return None
