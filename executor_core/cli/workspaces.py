"""The verbs `workspaces`, and `runs undo`, `runs redo` and `runs keep`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import click

from executor_core.cli.frame import Duration, Verb, agreed, as_json, dry_run, group, invocation
from executor_core.cli.out import Exit, agrees, say, say_json, say_list, say_table
from executor_core.clock import SystemClock
from executor_core.control import CleanReport, Restoration, WorkspaceInfo
from executor_core.errors import ExecutorError
from executor_core.services.computer import host_of_user
from executor_core.services.workspaces import LocalWorkspaces
from executor_core.texts import text

_DAY_S = 24 * 3600

forced = click.option("--force", "is_forced", is_flag=True)


@group
@as_json
def workspaces(is_json: bool) -> None:
    room = _room()
    found = asyncio.run(room.workspaces())
    if is_json:
        say_json(found)
        return
    if found:
        _table(found)
        total = _size(sum(info.size_bytes for info in found))
        say(text("cli.workspaces.total", count=len(found), size=total))
    else:
        say(text("cli.workspaces.none"))
    if trusted := asyncio.run(room.trusted()):
        say("\n" + text("cli.workspaces.trusted"))
        say_list([str(folder) for folder in trusted])


@workspaces.command("trust")
@click.argument("path", type=click.Path(path_type=Path))
def trust(path: Path) -> None:
    say(text("cli.workspaces.trust_done", path=asyncio.run(_room().trust(path))))


@workspaces.command("untrust")
@click.argument("path", type=click.Path(path_type=Path))
def untrust(path: Path) -> None:
    say(text("cli.workspaces.untrust_done", path=asyncio.run(_room().distrust(path))))


@workspaces.command("clean")
@click.argument("names", nargs=-1, metavar="[NAME…]")
@click.option("--older-than", "unused_for_s", type=Duration(), metavar="TIME")
@agreed
@dry_run
def clean(
    names: tuple[str, ...], unused_for_s: float | None, is_agreed: bool, is_dry: bool
) -> None:
    if names and unused_for_s is not None:
        raise ExecutorError("names_or_age")
    room = _room()
    if names:
        lost = [info for info in asyncio.run(room.workspaces()) if info.name in names]
        for info in lost:
            say(text("cli.workspaces.will_go", name=info.name, facts=_facts(info)))
        if is_dry:
            return
        if lost and not is_agreed and not agrees(text("cli.workspaces.ask")):
            say(text("cli.workspaces.no"))
            sys.exit(Exit.FAILED)
        report = asyncio.run(room.remove(names))
    elif is_dry:
        report = asyncio.run(room.forecast(unused_for_s=unused_for_s))
    else:
        report = asyncio.run(room.clean(unused_for_s=unused_for_s))
    _show(report, is_dry=is_dry)
    # What was asked for by name and did not happen is a failure; the rest is a clean-up's choice.
    if any(names or kept.reason == "failed" for kept in report.kept):
        sys.exit(Exit.FAILED)


def _show(report: CleanReport, *, is_dry: bool) -> None:
    for info in report.removed:
        key = "cli.workspaces.would_go" if is_dry else "cli.workspaces.gone"
        say(text(key, name=info.name, facts=_facts(info)))
    for kept in report.kept:
        reason = text(f"cli.workspaces.kept.{kept.reason}")
        detail = f" ({kept.detail})" if kept.detail else ""
        say(text("cli.workspaces.stays", name=kept.name, reason=reason + detail))
    key = "cli.workspaces.would_free" if is_dry else "cli.workspaces.freed"
    say(text(key, size=_size(report.freed_bytes)))


def _table(found: Iterable[WorkspaceInfo]) -> None:
    columns = ("name", "size", "age", "state", "repositories")
    rows = ((info.name, *_words(info), ", ".join(info.repositories)) for info in found)
    say_table(rows, (f"cli.workspaces.{name}" for name in columns))


def _facts(info: WorkspaceInfo) -> str:
    return ", ".join(_words(info))


def _words(info: WorkspaceInfo) -> tuple[str, str, str]:
    return _size(info.size_bytes), _age(info), _state(info)


def _state(info: WorkspaceInfo) -> str:
    words = text(f"state.workspace.{info.state}")
    return f"{words}; {text('state.workspace.in_use')}" if info.is_in_use else words


def _age(info: WorkspaceInfo) -> str:
    seconds = (SystemClock().now() - info.used_at).total_seconds()
    if seconds >= _DAY_S:
        return text("cli.workspaces.days", count=int(seconds // _DAY_S))
    return text("cli.workspaces.today")


def _size(count: float) -> str:
    """Bytes as people read them, in powers of 1000."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


# --- what runs changed -------------------------------------------------------------------------


@click.command("undo", cls=Verb)
@click.argument("run_id")
@forced
@agreed
@dry_run
def runs_undo(run_id: str, is_forced: bool, is_agreed: bool, is_dry: bool) -> None:
    work = partial(_room().undo, run_id, is_forced=is_forced)
    way_back = text("cli.undo.redo", run_id=run_id)
    _restore(work, "cli.undo.done", way_back, is_agreed=is_agreed, is_dry=is_dry)


@click.command("redo", cls=Verb)
@click.argument("run_id")
@forced
@agreed
@dry_run
def runs_redo(run_id: str, is_forced: bool, is_agreed: bool, is_dry: bool) -> None:
    work = partial(_room().redo, run_id, is_forced=is_forced)
    _restore(work, "cli.undo.redone", is_agreed=is_agreed, is_dry=is_dry)


def _restore(
    work: Callable[..., Coroutine[Any, Any, Restoration]],
    done_key: str,
    way_back: str = "",
    *,
    is_agreed: bool,
    is_dry: bool,
) -> None:
    """Show what will be, ask whoever is there, do it, and say what came of it."""
    planned = asyncio.run(work(is_trial=True))
    say(text("cli.undo.will", count=len(planned.files), folder=planned.folder))
    say_list(planned.files)
    _say_what_stays(planned)
    if is_dry:
        return
    # A script cannot be asked; it may take back what was done.
    is_asked = not is_agreed and sys.stdin.isatty() and bool(planned.files)
    if is_asked and not agrees(text("cli.undo.ask")):
        say(text("cli.undo.no"))
        sys.exit(Exit.FAILED)
    done = asyncio.run(work())
    if done.failed:
        say(text("cli.undo.failed", count=len(done.failed)))
        say_list([f"{one.path}: {one.reason}" for one in done.failed])
    if not done.files:
        say(text("cli.undo.none", folder=done.folder))
        return
    is_whole = not (done.touched or done.left_out or done.failed)
    key = done_key if is_whole else "cli.undo.partly"
    say(text(key, count=len(done.files), folder=done.folder))
    if way_back:
        say(way_back)
    if done.failed:
        sys.exit(Exit.FAILED)


def _say_what_stays(planned: Restoration) -> None:
    if planned.touched:
        say(text("cli.undo.touched", count=len(planned.touched)))
        say_list(planned.touched)
    if planned.left_out:
        say(text("cli.undo.left_out", count=len(planned.left_out)))
        say_list([f"{one.path} ({text(f'changes.{one.reason}')})" for one in planned.left_out])


@click.command("keep", cls=Verb)
@click.argument("run_id")
@click.option("--branch", required=True, metavar="NAME")
def runs_keep(run_id: str, branch: str) -> None:
    changes = asyncio.run(_room().keep(run_id, branch))
    say(text("cli.keep.done", branch=branch, folder=changes.folder, count=len(changes.files)))


def _room() -> LocalWorkspaces:
    return LocalWorkspaces(*invocation().reach(), host_of_user)
