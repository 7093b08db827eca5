"""The table of routes: OpenRunner's, and our own beyond them.

What is in it is served, stands in `/openapi.json`, and is tried by the tests.
"""

from __future__ import annotations

from typing import Any

import msgspec

from executor_core import __version__
from executor_core.api import answers, runs
from executor_core.api.openapi import document
from executor_core.api.openrunner import OpenRunnerEvent
from executor_core.api.route import PROMPT_BODY_BYTES, Call, Parts, Route, Stream
from executor_core.control import (
    Control,
    RunChanges,
    RunDetail,
    RunSummary,
    Status,
    Submission,
)
from executor_core.model import AgentEvent, Availability
from executor_core.services.interface import (
    Check,
    DeviceService,
    HealthService,
    InstallService,
    LogLine,
    LogService,
)
from executor_core.web import Access, Listener, Users

STATUSES = {
    "agent_not_installable": 404,
    "artifact_unknown": 404,
    "draining": 503,
    "journal_failed": 507,
    "login_failed": 400,
    "login_slowed": 429,
    "npm_missing": 409,
    "owner_only": 403,
    "prompt_too_long": 413,
    "queue_full": 503,
    "retry_elsewhere": 409,
    "retry_not_kept": 409,
    "retry_too_early": 409,
    "run_unknown": 404,
    "server_unreachable": 502,
    "users_unreadable": 409,
}


class Health(msgspec.Struct):
    """It listens."""

    status: str = "ok"


class UsableAgent(msgspec.Struct):
    """What everybody may know of an agent."""

    name: str
    title: str
    usable: bool


class UsableAgents(msgspec.Struct):
    """The agents of this computer."""

    agents: tuple[UsableAgent, ...]


def attach(
    listener: Listener,
    control: Control,
    *,
    users: Users | None = None,
    devices: DeviceService | None = None,
    health: HealthService | None = None,
    log: LogService | None = None,
    install: InstallService | None = None,
) -> None:
    """Register the routes of every part that is given."""
    parts = Parts(
        listener=listener,
        control=control,
        users=users,
        devices=devices,
        health=health,
        log=log,
        install=install,
    )
    listener.statuses.update(STATUSES)
    if users is not None:
        listener.accept(users.verify)
    for route in _served(parts):
        listener.route(
            route.method,
            route.path,
            route.handler(parts),
            access=route.access,
            body_limit=route.body_limit,
        )


def _served(parts: Parts) -> list[Route | Stream]:
    return [route for route in ROUTES if getattr(parts, route.part) is not None]


async def _describe(call: Call) -> dict[str, Any]:
    return document(_served(call.parts), __version__)


async def _health(_call: Call) -> Health:
    return Health()


async def _health_agents(call: Call) -> UsableAgents:
    found = await call.control.agents()
    return UsableAgents(tuple(UsableAgent(a.name, a.title, a.is_usable) for a in found))


_PUBLIC = Access.PUBLIC

ROUTES: tuple[Route | Stream, ...] = (
    Route("GET", "/health", "Whether it listens", _health, Health, access=_PUBLIC),
    Route(
        "GET", "/health/agents", "Which agents can work", _health_agents, UsableAgents,
        access=_PUBLIC,
    ),
    Route("GET", "/openapi.json", "This description", _describe, dict[str, Any]),
    Route(
        "POST", "/api/auth/login", "A token for a name and a password", answers.login,
        answers.SignedIn, answers.Login, access=_PUBLIC, part="users",
    ),
    # --- runs -----------------------------------------------------------------------------------
    Route(
        "POST", "/api/runs", "Ask for a run", runs.new_run, answers.RunId, runs.NewRun,
        body_limit=PROMPT_BODY_BYTES,
    ),
    Route("POST", "/api/chat", "Ask, and wait", runs.chat, runs.ChatAnswer, runs.Chat),
    Route(
        "GET", "/api/runs", "The active runs and the newest", answers.runs,
        tuple[RunSummary, ...], query=answers.Limit,
    ),
    Route(
        "POST", "/api/submissions", "Ask for a run", answers.submit, answers.RunId, Submission,
        body_limit=PROMPT_BODY_BYTES,
    ),
    Route("GET", "/api/runs/{run_id}", "One run", answers.run, RunDetail),
    Route("POST", "/api/runs/{run_id}/cancel", "End a run", answers.cancel, answers.Cancelled),
    Route("POST", "/api/runs/{run_id}/retry", "Ask again for it", answers.retry, answers.RunId),
    Route("GET", "/api/runs/{run_id}/patch", "What a run changed", answers.changes, RunChanges),
    Route(
        "GET", "/api/runs/{run_id}/artifacts/{name}", "A file that a run made",
        answers.artifact, bytes,
    ),
    Route(
        "GET", "/api/folders-in-use", "Where runs work", answers.folders_in_use, tuple[str, ...]
    ),
    Stream(
        "/api/runs/{run_id}/events", "What happens in a run, in OpenRunner's words",
        runs.events, OpenRunnerEvent, runs.check_run, can_resume=True,
    ),
    Stream(
        "/api/runs/{run_id}/agent-events", "What happens in a run, in our own words",
        answers.agent_events, AgentEvent, runs.check_run, can_resume=True,
    ),
    # --- the executor ---------------------------------------------------------------------------
    Route("GET", "/api/status", "The executor at a glance", answers.status, Status),
    Stream("/api/status/events", "The status, whenever it changed", answers.status_events, Status),
    Route(
        "GET", "/api/agents", "The agents", answers.agents,
        tuple[Availability, ...], query=answers.AgentsQuery,
    ),
    Stream(
        "/api/agents/{name}/install", "Install an agent, or update it, step by step",
        answers.install, answers.InstallEvent, answers.check_installable,
        method="POST", access=Access.TOKEN, part="install",
    ),
    Route("POST", "/api/pause", "Start nothing new", answers.pause, Status, answers.Pause),
    Route("POST", "/api/resume", "Take back a pause", answers.resume, Status),
    Route("POST", "/api/slots", "Set the slots", answers.resize, Status, answers.SlotCount),
    Route("POST", "/api/drain", "Finish what was accepted, then end", answers.drain, Status),
    Route("POST", "/api/stop", "End all runs, then end", answers.stop, answers.Stopping),
    Route("POST", "/api/console", "A link to the console", answers.console, answers.Console),
    Route("POST", "/api/links/try", "Connect now", answers.try_links, answers.Done),
    Route("POST", "/api/credential", "A token was changed", answers.credential, answers.Done),
    # --- devices, health, log -------------------------------------------------------------------
    Route(
        "GET", "/api/devices", "The server's devices", answers.devices, answers.Devices,
        part="devices",
    ),
    Route(
        "PUT", "/api/devices/{device_id}/default", "Make it the default", answers.make_default,
        answers.Devices, part="devices",
    ),
    Route(
        "DELETE", "/api/devices/{device_id}/default", "Have no default", answers.clear_default,
        answers.Devices, part="devices",
    ),
    Route(
        "DELETE", "/api/devices/{device_id}", "Take it off the list", answers.remove_device,
        answers.Devices, part="devices",
    ),
    Route(
        "GET", "/api/doctor", "All checks of this computer", answers.doctor, tuple[Check, ...],
        part="health",
    ),
    Route(
        "GET", "/api/log", "The end of the log", answers.log, tuple[LogLine, ...],
        query=answers.Lines, part="log",
    ),
    Stream(
        "/api/log/events", "The end of the log, and what comes", answers.log_events, LogLine,
        query=answers.Lines, part="log",
    ),
)  # fmt: skip
