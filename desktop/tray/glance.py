"""The executor at one glance: the state that the icon shows, and the sentences that go with it.

Pure functions of a `Status`. What the icon looks like is the business of `icon`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from urllib.parse import urlsplit

from msgspec import Struct

from desktop.parts.commands import plain
from desktop.parts.phrases import clock_time, duration, run_title, shortened
from executor_core.control import RunSummary, Status
from executor_core.model import LinkState, LinkStatus, RunState
from executor_core.texts import text

EXPIRES_SOON = timedelta(days=3)
"""A token that ends so soon is something that a person should act on."""
_JOINT = " · "
_MAX_REASON = 140


class TrayState(StrEnum):
    """What the icon can say."""

    STARTING = "starting"
    IDLE = "idle"
    WORKING = "working"
    BUSY = "busy"
    PAUSED = "paused"
    OFFLINE = "offline"
    ATTENTION = "attention"


class Glance(Struct, kw_only=True, frozen=True):
    """What people see first. `headline` heads the menu, `tooltip` is the sentence of the icon."""

    state: TrayState
    used: int = 0
    max: int = 0
    headline: str
    tooltip: str


def glance(
    status: Status | None,
    *,
    now: datetime,
    told_at: datetime | None = None,
    expires_at: datetime | None = None,
) -> Glance:
    """`status` was true at `told_at`; None: nobody answers, or not any
    more where it has a `told_at`. `expires_at` is the token's end."""
    if status is None:
        state = TrayState.OFFLINE if told_at else TrayState.STARTING
        words = text("tray.gone" if told_at else "tray.starting")
        return Glance(state=state, headline=words, tooltip=words)
    is_expiring = expires_at is not None and expires_at - now <= EXPIRES_SOON
    state = _state(status, is_expiring)
    age_s = (now - told_at).total_seconds() if told_at else 0.0
    headline = _headline(status, state, age_s, expires_at, now)
    slots = text("tray.slots", used=status.slots.used, max=status.slots.max)
    parts = [headline, slots]
    if status.draining:
        parts.append(text("tray.draining"))
    online = _first(status, LinkState.ONLINE)
    if online is not None:
        parts.append(text("tray.connected_for", duration=duration(now - online.since)))
    return Glance(
        state=state,
        used=status.slots.used,
        max=status.slots.max,
        headline=headline,
        tooltip=_JOINT.join(parts),
    )


def _state(status: Status, is_expiring: bool) -> TrayState:
    states = {link.state for link in status.links}
    if LinkState.REJECTED in states or is_expiring:
        return TrayState.ATTENTION
    if LinkState.ONLINE not in states:
        return TrayState.STARTING if LinkState.CONNECTING in states else TrayState.OFFLINE
    if status.paused:
        return TrayState.PAUSED
    if status.slots.used >= status.slots.max:
        return TrayState.BUSY
    return TrayState.WORKING if status.slots.used else TrayState.IDLE


def _headline(
    status: Status, state: TrayState, age_s: float, expires_at: datetime | None, now: datetime
) -> str:
    if rejected := _first(status, LinkState.REJECTED):
        return plain(rejected.reason or text("state.link.rejected", server=rejected.server))
    if state is TrayState.ATTENTION and expires_at is not None:
        return text("tray.expires", duration=duration(max(expires_at - now, timedelta())))
    if state is TrayState.OFFLINE:
        return _offline(status, age_s)
    if state is TrayState.STARTING and (link := _first(status, LinkState.CONNECTING)):
        server = link.server
        return text("tray.connecting", server=urlsplit(server).netloc or server)
    if state is TrayState.PAUSED and status.paused_until is not None:
        return text("tray.paused_until", time=clock_time(status.paused_until, now))
    return text(f"tray.state.{state}")


def _offline(status: Status, age_s: float) -> str:
    offline = _first(status, LinkState.OFFLINE)
    if offline is None:
        return text("tray.stopped" if status.links else "tray.no_server")
    parts = [text("tray.state.offline")]
    if offline.reason:
        parts.append(shortened(plain(offline.reason), _MAX_REASON))
    if offline.next_attempt_in_s is not None:
        left = timedelta(seconds=max(0.0, offline.next_attempt_in_s - age_s))
        parts.append(text("tray.next_attempt", duration=duration(left)))
    return _JOINT.join(parts)


def _first(status: Status, state: LinkState) -> LinkStatus | None:
    return next((link for link in status.links if link.state is state), None)


def run_line(run: RunSummary, agents: Mapping[str, str], now: datetime) -> str:
    """Title, agent and time of a run. `agents` are the agents' titles by name."""
    parts = [run_title(run), agents.get(run.agent, run.agent)]
    if run.state is RunState.QUEUED:
        parts.append(text("state.run.queued"))
    elif run.started_at is not None:
        parts.append(duration((run.finished_at or now) - run.started_at))
    return _JOINT.join(parts)


def until_tomorrow_s(now: datetime) -> float:
    """Seconds from `now` to eight in the morning of the next day here."""
    local = now.astimezone()
    morning = (local + timedelta(days=1)).replace(hour=8, minute=0, second=0, microsecond=0)
    return (morning - local).total_seconds()
