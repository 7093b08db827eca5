"""The server: signing in and out, its list of devices, and a round trip through it."""

from __future__ import annotations

import asyncio
import sys

import click
from msgspec import Struct

from executor_core.cli.frame import (
    Invocation,
    Verb,
    as_json,
    at_server,
    group,
    invocation,
    missing,
    secret_line,
)
from executor_core.cli.out import Exit, exit_of, say, say_json, say_table
from executor_core.clock import SystemClock
from executor_core.config import options
from executor_core.errors import ExecutorError
from executor_core.services.account import LocalAccount
from executor_core.services.devices import LocalDevices
from executor_core.services.interface import Device
from executor_core.services.reach import status_of
from executor_core.services.selftest import SelfTest, Step
from executor_core.texts import text

_SIGNS = {"online": "🟢", "busy": "🟡", "offline": "🔴", "ok": "✓", "failed": "✗", "skipped": "–"}
_HEADINGS = ("", *(f"cli.devices.{name}" for name in ("name", "id", "slots", "version")), "")
_MAX_NOTE = 300


# --- the account -------------------------------------------------------------------------------


@click.command(cls=Verb)
@at_server
@click.option("--token", metavar="-")
@click.option("--file", "to_file", is_flag=True)
def login(backend_url: str | None, token: str | None, to_file: bool) -> None:
    asked = invocation(backend_url)
    server = asked.config()[options.SERVER_URL]
    if not server:
        raise ExecutorError("no_server")
    value = _token_to_keep(token or asked.given.get(options.SERVER_TOKEN.name), server)
    room = LocalAccount(*asked.reach(), on_wait=_say_wait if sys.stderr.isatty() else None)
    kept = asyncio.run(room.sign_in(server, value, to_file=to_file))
    say(text("cli.logged_in", server=server, place=kept.place))
    _say_other_server(asked, server)


@click.command(cls=Verb)
def logout() -> None:
    asked = invocation()
    server = asked.config()[options.SERVER_URL]
    left = asyncio.run(LocalAccount(*asked.reach()).sign_out())
    say(text("cli.logged_out", server=server))
    if left.place is not None:
        say(text("cli.token_left", place=left.place))
    _say_other_server(asked, server)


def _say_wait() -> None:
    say(text("cli.keychain_asks"), err=True)


def _token_to_keep(given: object, server: str) -> str:
    if given and given != "-":
        return str(given)
    if not (given or sys.stdin.isatty()):
        raise ExecutorError("no_terminal")
    return secret_line(text("cli.token_prompt", server=server))


def _say_other_server(asked: Invocation, server: str) -> None:
    """Whoever signs in at one server must not think that the running executor uses it."""
    status = asyncio.run(status_of(asked.reach()[1]))
    servers = [link.server for link in status.links] if status is not None else [server]
    if server not in servers:
        say(text("cli.other_server", servers=", ".join(servers)))


# --- its devices -------------------------------------------------------------------------------


@group
@as_json
def devices(is_json: bool) -> None:
    found = asyncio.run(_devices().devices())
    if is_json:
        say_json(found)
    elif found:
        say_table(map(_row, found), _HEADINGS)
    else:
        say(text("cli.devices.none"))


@devices.command("default")
@click.argument("device_id", required=False)
@click.option("--none", "is_none", is_flag=True)
@click.pass_context
def devices_default(context: click.Context, device_id: str | None, is_none: bool) -> None:
    if is_none:
        asyncio.run(_devices().clear_default())
        say(text("cli.devices.no_default"))
    elif device_id:
        asyncio.run(_devices().make_default(device_id))
        say(text("cli.devices.default", device_id=device_id))
    else:
        raise missing(context)


@devices.command("remove")
@click.argument("device_id")
def devices_remove(device_id: str) -> None:
    asyncio.run(_devices().remove(device_id))
    say(text("cli.devices.removed", device_id=device_id))


def _devices() -> LocalDevices:
    return LocalDevices(*invocation().reach())


def _row(device: Device) -> tuple[str, ...]:
    status = f"{_SIGNS[device.status]} {text(f'state.device.{device.status}')}"
    slots = f"{device.slots_used}/{device.slots_max or '∞'}"
    marks = [text("cli.devices.is_default")] if device.is_default else []
    marks += [text("cli.devices.is_this")] if device.is_this else []
    return status, device.name, device.device_id, slots, device.version or "", ", ".join(marks)


# --- a task there and back ---------------------------------------------------------------------


class _Report(Struct, frozen=True):
    ok: bool
    seconds: float
    steps: list[Step]


@click.command(cls=Verb)
@click.option("--prompt", metavar="TEXT")
@at_server
@click.option("--team", "team_id", type=click.IntRange(1), metavar="ID")
@click.option("--timeout", "timeout_s", type=click.IntRange(1, 3600), default=60, metavar="S")
@click.option("--skip-dispatch", is_flag=True)
@as_json
def selftest(
    prompt: str | None,
    backend_url: str | None,
    team_id: int | None,
    timeout_s: int,
    skip_dispatch: bool,
    is_json: bool,
) -> None:
    test = SelfTest(
        *invocation(backend_url).reach(),
        SystemClock(),
        prompt=prompt or text("selftest.prompt"),
        timeout_s=timeout_s,
        team_id=team_id,
        skips_dispatch=skip_dispatch,
    )
    steps = asyncio.run(_run(test, is_silent=is_json))
    error = steps[-1].error
    seconds = round(sum(step.seconds for step in steps), 3)
    if is_json:
        say_json(_Report(ok=error is None, seconds=seconds, steps=steps))
    elif error is None:
        say(text("selftest.good", seconds=f"{seconds:.1f}"))
    sys.exit(Exit.OK if error is None else exit_of(error.code))


async def _run(test: SelfTest, *, is_silent: bool) -> list[Step]:
    steps = []
    async for step in test.run():
        steps.append(step)
        if not is_silent:
            _say_step(step)
    return steps


def _say_step(step: Step) -> None:
    note = " ".join(step.note.split())
    note = note if len(note) <= _MAX_NOTE else f"{note[:_MAX_NOTE]}…"
    line = f"{_SIGNS[step.mark]} {step.seconds:7.2f} s  {step.title}"
    say(f"{line}: {note}" if note else line)
    if step.error is not None:
        say(f"    {step.error.sentence}")
