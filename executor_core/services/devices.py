"""The server's list of the user's devices."""

from __future__ import annotations

import asyncio

from executor_core.config.identity import id_of
from executor_core.links import server
from executor_core.links.server import Access, Json
from executor_core.services.interface import Device
from executor_core.services.reach import Load, Reach, access_of

STATUSES = ("online", "busy", "offline")


class LocalDevices:
    """Implements DeviceService."""

    def __init__(self, load: Load, reach: Reach) -> None:
        self._load = load
        self._reach = reach

    async def devices(self) -> tuple[Device, ...]:
        return await devices_of(await self._access(), await asyncio.to_thread(self._this))

    async def make_default(self, device_id: str) -> None:
        await server.make_default(await self._access(), device_id)

    async def clear_default(self) -> None:
        access = await self._access()
        for item in await server.device_items(access):
            if item.get("is_default"):
                await server.clear_default(access, str(item["device_id"]))

    async def remove(self, device_id: str) -> None:
        await server.remove_device(await self._access(), device_id)

    async def _access(self) -> Access:
        return await access_of(self._load, self._reach)

    def _this(self) -> str:
        config = self._load()
        config.home.create()
        return id_of(config)


async def devices_of(access: Access, this: str) -> tuple[Device, ...]:
    """The user's devices, the default first; `this` is the id of this computer."""
    found = [read_device(item, this) for item in await server.device_items(access)]
    return tuple(sorted(found, key=lambda one: not one.is_default))


def read_device(item: Json, this: str) -> Device:
    """A device as any generation describes it; `slots_max` 0 means that there is no limit."""
    status, version = item.get("status"), item.get("executor_version")
    found_id = str(item["device_id"])
    return Device(
        device_id=found_id,
        name=str(item.get("name") or found_id),
        status=status if status in STATUSES else "offline",
        is_default=item.get("is_default") is True,
        is_this=found_id == this,
        slots_used=_count(item.get("slot_used")),
        slots_max=_count(item.get("slot_max")),
        version=version if isinstance(version, str) else None,
    )


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
