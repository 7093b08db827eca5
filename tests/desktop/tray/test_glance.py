from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from desktop.tray.glance import TrayState, glance, run_line, until_tomorrow_s
from executor_core.control import RunSummary, Slots, Status
from executor_core.model import LinkState, LinkStatus, RunState, Source

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def link(state: LinkState) -> LinkStatus:
    since = NOW - timedelta(hours=3)
    return LinkStatus(kind="device", state=state, server="https://w.example.com", since=since)


def status(*links: LinkStatus, used: int = 0, **more: object) -> Status:
    return Status(
        version="1",
        pid=1,
        device_id="hw-1",
        device_name="A",
        links=links,
        slots=Slots(used=used, max=5),
        queued=0,
        outbox_pending=0,
        api="",
        runs=(),
        **{"paused": False, "draining": False, **more},  # type: ignore[arg-type]
    )


ONLINE = link(LinkState.ONLINE)


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (None, TrayState.STARTING),
        (status(link(LinkState.CONNECTING)), TrayState.STARTING),
        (status(ONLINE), TrayState.IDLE),
        (status(ONLINE, used=2), TrayState.WORKING),
        (status(ONLINE, used=5), TrayState.BUSY),
        (status(ONLINE, used=5, paused=True), TrayState.PAUSED),
        (status(link(LinkState.OFFLINE), used=2), TrayState.OFFLINE),
        (status(link(LinkState.STOPPED)), TrayState.OFFLINE),
        (status(), TrayState.OFFLINE),
        (status(link(LinkState.REJECTED)), TrayState.ATTENTION),
        (status(ONLINE, link(LinkState.REJECTED)), TrayState.ATTENTION),
    ],
)
def test_each_status_is_one_state_of_the_tray(found: Status | None, state: TrayState) -> None:
    assert glance(found, now=NOW).state is state


def test_the_tooltip_is_a_sentence() -> None:
    found = glance(status(ONLINE, used=2), now=NOW)
    assert found.tooltip == "Online · 2 of 5 slots in use · connected for 3 h"


def test_offline_says_why_and_when_it_goes_on() -> None:
    offline = link(LinkState.OFFLINE)
    lost = replace(offline, reason="The server\nis away.", next_attempt_in_s=40.0)
    told_at = NOW - timedelta(seconds=10)
    found = glance(status(lost), now=NOW, told_at=told_at)
    assert found.headline == "Offline · The server is away. · next attempt in 30 s"


def test_a_token_that_ends_soon_needs_attention() -> None:
    later, soon = NOW + timedelta(days=30), NOW + timedelta(days=2)
    assert glance(status(ONLINE), now=NOW, expires_at=later).state is TrayState.IDLE
    found = glance(status(ONLINE), now=NOW, expires_at=soon)
    assert found.state is TrayState.ATTENTION
    assert found.headline == "Your sign-in expires in 2 d: sign in again"


def test_an_executor_that_went_away_is_not_starting() -> None:
    found = glance(None, now=NOW, told_at=NOW)
    assert (found.state, found.headline) == (TrayState.OFFLINE, "The executor does not answer")


def test_a_command_in_a_reason_has_no_marks_here() -> None:
    reason = "Sign in again: `wegent-executor login`."
    found = glance(status(replace(link(LinkState.REJECTED), reason=reason)), now=NOW)
    assert found.headline == "Sign in again: wegent-executor login."


def test_draining_is_said_beside_the_state() -> None:
    found = glance(status(ONLINE, used=1, draining=True), now=NOW)
    assert "finishing what runs" in found.tooltip


def test_a_run_has_title_agent_and_time() -> None:
    run = RunSummary(
        run_id="run_1",
        source=Source.DEVICE,
        task_id=7,
        subtask_id=8,
        agent="claude_code",
        state=RunState.RUNNING,
        started_at=NOW - timedelta(minutes=4, seconds=50),
        accepted_at=NOW,
        title="Fix  the\nparser",
    )
    agents = {"claude_code": "Claude Code"}
    assert run_line(run, agents, NOW) == "Fix the parser · Claude Code · 4 min"


def test_until_tomorrow_is_the_next_morning() -> None:
    local = datetime(2026, 3, 1, 23, 0).astimezone()
    assert until_tomorrow_s(local) == 9 * 3600
