"""Frozen structs as lines and tables for people."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from executor_core.cli.out import say, say_json
from executor_core.control import RunChanges, RunDetail, RunSummary, Status
from executor_core.model import (
    AgentEvent,
    Availability,
    LinkState,
    LinkStatus,
    Notice,
    RunEnded,
    RunState,
    TextDelta,
    ToolFinished,
    ToolStarted,
)
from executor_core.texts import text
from executor_core.unicode import one_line

if TYPE_CHECKING:
    from executor_core.agents.catalog import KnownAgent
    from executor_core.agents.registry import CheckedAgent

_MARKS = {
    RunState.COMPLETED: "✓",
    RunState.FAILED: "✗",
    RunState.CANCELLED: "–",
}
_MAX_OUTPUT_LINES = 12
_LISTED = 20
MIB = 2**20


as_json = say_json


def table(rows: Iterable[Iterable[object]], headers: Iterable[str]) -> None:
    """Print a table without borders."""
    from tabulate import tabulate

    say(tabulate([[_cell(part) for part in row] for row in rows], list(headers), tablefmt="plain"))


def _cell(value: object) -> object:
    return one_line(value) if isinstance(value, str) else value


def status(found: Status) -> None:
    """The executor at a glance, in sentences."""
    for link in found.links:
        say(_link_line(link))
        if link.token_warning_h is not None and link.state is not LinkState.REJECTED:
            say(_token_line(link.token_warning_h))
    key = "cli.status.slots_queued" if found.queued else "cli.status.slots"
    say(text(key, used=found.slots.used, max=found.slots.max, queued=found.queued))
    if found.outbox_pending:
        say(text("cli.status.outbox", count=found.outbox_pending))
    if found.paused:
        say(pause_line(found))
    if found.draining:
        say(text("cli.status.draining"))
    for run in found.runs:
        say("  " + _run_line(run))
    say(text("cli.status.device", name=found.device_name, id=found.device_id))


def _link_line(link: LinkStatus) -> str:
    sign = {LinkState.ONLINE: "🟢", LinkState.REJECTED: "⛔"}.get(link.state, "🔴")
    words = text(f"state.link.{link.state}", server=link.server)
    reason = f" {link.reason}" if link.reason else ""
    wait = ""
    if link.next_attempt_in_s is not None:
        wait = " " + text("cli.status.next_attempt", seconds=round(link.next_attempt_in_s))
    return f"{sign} {words}{reason}{wait}"


def _token_line(hours: int) -> str:
    return text("cli.status.token_ends", hours=hours) if hours else text("cli.status.token_ended")


def pause_line(found: Status) -> str:
    """What a pause means, until when, and why."""
    if found.paused_until is None:
        words = text("cli.status.paused")
    else:
        words = text("cli.status.paused_until", time=local_time(found.paused_until))
    return f"{words} ({found.pause_reason})" if found.pause_reason else words


def why_a_run_waits(found: Status) -> str:
    """Why a run of this computer has not started yet."""
    if found.paused:
        return pause_line(found)
    is_full = found.slots.used >= found.slots.max
    return text("cli.exec.waits_for_slot" if is_full else "cli.exec.waits_for_folder")


def _run_line(run: RunSummary) -> str:
    task = text("cli.run.task", task=run.task_id) if run.task_id else ""
    words = (run.run_id, text(f"state.run.{run.state}"), run.agent, task, run.title)
    return one_line("  ".join(word for word in words if word))


def runs(found: Iterable[RunSummary]) -> None:
    """A line per run, newest first."""
    table(
        (
            (
                _MARKS.get(run.state, "…"),
                run.run_id,
                text(f"state.run.{run.state}"),
                run.agent,
                run.task_id or "",
                local_time(run.accepted_at),
                _took(run),
                f"{run.resources.rss_bytes // MIB} MB" if run.resources else "",
                _note(run),
            )
            for run in found
        ),
        ["", *(text(f"cli.runs.{name}") for name in ("run", "state", "agent", "task"))]
        + [text(f"cli.runs.{name}") for name in ("accepted", "took", "memory", "note")],
    )


def _note(run: RunSummary) -> str:
    if run.waits_for_disk:
        return text("cli.run.waits_for_disk")
    return run.error or run.title


def run_detail(found: RunDetail, changes: RunChanges) -> None:
    """One run, its outcome, what is known of its changes, and its text."""
    run = found.run
    say(f"{_MARKS.get(run.state, '…')} {_run_line(run)}")
    say(text("cli.run.times", accepted=local_time(run.accepted_at), took=_took(run) or "–"))
    if run.resources is not None:
        used = run.resources
        memory, cpu = used.rss_bytes // MIB, f"{used.cpu_s:.1f}"
        words = text("cli.run.resources", memory=memory, cpu=cpu, processes=used.processes)
        say(words)
    if run.waits_for_disk:
        say(text("cli.run.waits_for_disk"))
    elif found.delivered is not None:
        say(text("cli.run.delivered" if found.delivered else "cli.run.not_delivered"))
    outcome = found.outcome
    if outcome is None:
        return
    if outcome.usage is not None:
        usage = outcome.usage
        say(text("cli.run.usage", input=usage.input_tokens, output=usage.output_tokens))
    if outcome.error is not None:
        say(outcome.error.sentence)
    for made in outcome.artifacts:
        words = text("cli.run.artifact", name=made.name, size=made.size_bytes, path=made.path)
        say(words)
    _changes(changes)
    if outcome.text:
        say("\n" + outcome.text)


def _changes(found: RunChanges) -> None:
    if found.unrecorded:
        say(text("cli.run.unrecorded", reason=found.unrecorded))
    if found.files:
        say(text("cli.run.changed", count=len(found.files)))
    if found.left_out:
        named = [
            f"{one.path} ({text(f'changes.{one.reason}')})" for one in found.left_out[:_LISTED]
        ]
        more = ["…"] if len(found.left_out) > _LISTED else []
        say(text("cli.run.left_out", names=", ".join(named + more)))
    if found.is_undone:
        say(text("cli.run.undone"))


def agents(found: Iterable[Availability], path: str, more: int = 0) -> None:
    """Each agent: whether it can work, and what to do if not; then what they get and where they
    are looked up. `more` is how many others are known that are not installed."""
    found = tuple(found)
    for agent in found:
        mark = "✓" if agent.is_usable else "✗"
        facts = (agent.version, agent.path, agent.login, agent.remark)
        say(f"{mark} {agent.name}  " + "  ".join(fact for fact in facts if fact))
        if agent.problem is not None:
            say(f"    {agent.problem.sentence}")
    if more:
        say(text("cli.agents.more", count=more))
    if names := {name for agent in found for name in agent.variables}:
        say(text("cli.agents.variables", names=", ".join(sorted(names))), dim=True)
    say(text("cli.agents.path", path=path), dim=True)


def agents_not_installed(known: Iterable[KnownAgent]) -> None:
    """The others of the protocol's registry, with where each comes from."""
    for agent in known:
        source = agent.install
        page = source.binary.page if source.binary else ""
        where = f"npm: {source.npm}" if source.npm else f"PyPI: {source.pypi}"
        shown = where if agent.is_installable else page
        seen = text("cli.agents.seen", version=agent.seen.version) if agent.seen else ""
        say(f"· {agent.name}  {agent.title}  {shown}  {seen}".rstrip())


def checked_agent(found: CheckedAgent) -> None:
    """What one agent offers, a line each."""
    agent, offer = found.agent, found.offer
    facts = (offer.version or agent.version, agent.path, agent.login, agent.remark)
    say(f"{agent.name}  {agent.title}  " + "  ".join(fact for fact in facts if fact))
    answers = {True: text("cli.yes"), False: text("cli.no"), None: "?"}
    say(text("cli.check.resumes", answer=answers[offer.resumes]))
    say(text("cli.check.images", answer=answers[offer.takes_images]))
    if offer.modes:
        say(text("cli.check.modes", names=", ".join(offer.modes)))
    say(text("cli.check.login", answer=answers[offer.needs_login]))
    if offer.logins:
        say(text("cli.check.logins", names=", ".join(offer.logins)))
    way = found.sign_in
    if way and offer.needs_login is not False:
        if way.command:
            say(text("cli.check.sign_in", command=way.command))
        if way.variables:
            say(text("cli.check.variables", names=", ".join(way.variables)))
    problem = agent.problem.sentence if agent.problem else offer.refusal
    if problem:
        say(problem)


def event(found: AgentEvent) -> None:
    """One event of a run as it streams: text as it is, the rest as dim lines."""
    match found:
        case TextDelta(text=words):
            say(words, nl=False)
        case ToolStarted(name=name, input=tool_input):
            shown = next((str(v) for v in tool_input.values() if isinstance(v, str)), "")
            say("\n⏵ " + one_line(f"{name} {shown[:200]}"), dim=True)
        case ToolFinished(output=output):
            lines = output.strip().splitlines()
            more = ["…"] if len(lines) > _MAX_OUTPUT_LINES else []
            for line in lines[:_MAX_OUTPUT_LINES] + more:
                say(f"  {line[:200]}", dim=True)
        case Notice(text=words):
            say(f"\n! {words}", dim=True)
        case RunEnded(outcome=outcome):
            say()
            if outcome.error is not None:
                say(outcome.error.sentence, err=True)
            elif outcome.state is RunState.CANCELLED:
                say(text("cli.exec.cancelled"), err=True)


def local_time(moment: datetime) -> str:
    """A time of day here; with the date where it is not today."""
    local = moment.astimezone()
    is_today = local.date() == datetime.now().astimezone().date()
    return local.strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M")


def _took(run: RunSummary) -> str:
    if run.finished_at is None:
        return ""
    return f"{(run.finished_at - (run.started_at or run.accepted_at)).total_seconds():.1f} s"
