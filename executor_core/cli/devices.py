"""The server's list of devices."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from executor_core.cli.context import invocation
from executor_core.cli.out import say
from executor_core.cli.outcome import speaks_plainly
from executor_core.cli.words import Misuse, Verbs, as_json
from executor_core.texts import text

if TYPE_CHECKING:
    from executor_core.services.devices import LocalDevices
    from executor_core.services.interface import Device

_SIGNS = {"online": "🟢", "busy": "🟡", "offline": "🔴"}


@click.group(cls=Verbs, invoke_without_command=True)
@as_json
@click.pass_context
@speaks_plainly
def devices(context: click.Context, is_json: bool) -> None:
    if context.invoked_subcommand is not None:
        return
    from executor_core.cli import show

    found = asyncio.run(_room().devices())
    if is_json:
        show.as_json(found)
    elif found:
        show.table(map(_row, found), ("", *map(_heading, ("name", "id", "slots", "version", ""))))
    else:
        say(text("cli.devices.none"))


@devices.command("default")
@click.argument("device_id", required=False)
@click.option("--none", "is_none", is_flag=True)
@click.pass_context
@speaks_plainly
def devices_default(context: click.Context, device_id: str | None, is_none: bool) -> None:
    if is_none:
        asyncio.run(_room().clear_default())
        say(text("cli.devices.no_default"))
        return
    if not device_id:
        missing = click.MissingParameter(ctx=context, param=context.command.params[0])
        raise Misuse(str(missing), context) from missing
    asyncio.run(_room().make_default(device_id))
    say(text("cli.devices.default", device_id=device_id))


@devices.command("remove")
@click.argument("device_id")
@speaks_plainly
def devices_remove(device_id: str) -> None:
    asyncio.run(_room().remove(device_id))
    say(text("cli.devices.removed", device_id=device_id))


def _room() -> LocalDevices:
    from executor_core.services.devices import LocalDevices

    return LocalDevices(*invocation().desk())


def _heading(name: str) -> str:
    return text(f"cli.devices.{name}") if name else ""


def _row(device: Device) -> tuple[str, ...]:
    status = f"{_SIGNS[device.status]} {text(f'state.device.{device.status}')}"
    slots = f"{device.slots_used}/{device.slots_max or '∞'}"
    marks = [text("cli.devices.is_default")] if device.is_default else []
    marks += [text("cli.devices.is_this")] if device.is_this else []
    return status, device.name, device.device_id, slots, device.version or "", ", ".join(marks)
