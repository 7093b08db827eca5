"""Which devices are there: their rows, and the online records that heartbeats keep alive."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from msgspec import Struct, structs

from executor_core.clock import Clock
from executor_core.errors import ExecutorError
from executor_core.hub.accounts import Call, Routes
from executor_core.hub.feed import Feed
from executor_core.hub.store import Json, Store, Subtask, insert
from executor_core.hub.wire import Dialect, Heartbeat, Registration, Slots
from executor_core.texts import text

MAX_DEVICES = 100
"""Devices that are remembered per user, also those that were taken off the list."""
ONLINE_TTL_S = 90.0
_PROGRESS_SLOTS = 5

_OF_EVERY_DEVICE = {
    "latest_version": None,
    "update_available": False,
    "device_type": "local",
    "connection_mode": "websocket",
}
_NEWER_FIELDS = dict.fromkeys(
    (
        "client_ip",
        "cloud_config",
        "runtime_transfer_host",
        "runtime_instance_id",
        "app_device_id",
        "socket_device_id",
        "runtime_features",
        "remote_config",
    )
) | {"bind_shell": "claudecode"}
"""What the newest servers say of a device besides; of a local one nothing of it is known."""

Running = Callable[[int, str], list[Subtask]]
"""The running subtasks of a user's device."""


class _Device(Struct):
    """A row of `devices`, as far as it is shown."""

    id: int
    device_id: str
    name: str
    executor_version: str | None
    capabilities: list[str]
    is_default: bool
    last_heartbeat: str | None


@dataclass
class _Record:
    """What is known of a device while it is online. `sid` is the socket that owns it."""

    sid: str
    seen_at: float
    status: str = "online"
    running_task_ids: list[int | str] = field(default_factory=list)
    runtime_instance_id: str | None = None
    slots: Slots | None = None


class Devices:
    """The devices of all users. Pages are told of every change."""

    def __init__(
        self, store: Store, feed: Feed, clock: Clock, dialect: Dialect, running: Running
    ) -> None:
        self._store = store
        self._feed = feed
        self._clock = clock
        self._dialect: Dialect = dialect
        self._running = running
        self._records: dict[tuple[int, str], _Record] = {}
        self.routes: Routes = [
            ("GET", "/api/devices", self._show_all),
            ("GET", "/api/devices/online", self._show_online),
            ("PUT", "/api/devices/{device_id}/default", self._change_default),
            ("DELETE", "/api/devices/{device_id}/default", self._change_default),
            ("DELETE", "/api/devices/{device_id}", self._delete),
        ]

    # --- from the device -----------------------------------------------------------------------

    async def register(self, user_id: int, sid: str, device: Registration) -> str | None:
        """The socket owns the device from now on; an older one of the same device is stale.

        Returns the error for the ack, if there is one.
        """
        if not device.is_storable:
            return "device_id is too long"
        online = [of for user, of in self._records if user == user_id]
        now = self._clock.now().isoformat()
        if not await self._store.run(lambda db: _keep(db, user_id, device, now, online)):
            return f"{MAX_DEVICES} devices are online already"
        self._records[user_id, device.device_id] = _Record(
            sid, self._clock.monotonic(), runtime_instance_id=device.runtime_instance_id
        )
        await self.tell(user_id, device.device_id)
        return None

    async def heartbeat(self, user_id: int, sid: str, beat: Heartbeat) -> str | None:
        """Renew the online record; the error for the ack, if there is one."""
        record = self._record(user_id, beat.device_id)
        if record is None:
            if self._dialect == "progress":
                # These servers answer success and leave the device offline until it registers.
                return None
            record = _Record(
                sid, self._clock.monotonic(), runtime_instance_id=beat.runtime_instance_id
            )
            self._records[user_id, beat.device_id] = record
        if record.sid != sid and self._dialect == "responses":
            return "Stale device connection"
        if record.runtime_instance_id not in (None, beat.runtime_instance_id):
            return "Runtime instance ID mismatch"
        record.seen_at = self._clock.monotonic()
        record.running_task_ids = beat.running_task_ids
        record.slots = beat.runtime_capacity
        await self._store.change(
            "UPDATE devices SET last_heartbeat = ?,"
            " executor_version = coalesce(?, executor_version)"
            " WHERE user_id = ? AND device_id = ?",
            self._clock.now().isoformat(),
            beat.executor_version,
            user_id,
            beat.device_id,
        )
        await self.tell(user_id, beat.device_id)
        return None

    async def set_status(self, user_id: int, device_id: str, status: str) -> None:
        """The device's own word for how it is."""
        record = self._record(user_id, device_id)
        if record is not None:
            record.status, record.seen_at = status, self._clock.monotonic()
            await self.tell(user_id, device_id)

    def owns(self, user_id: int, device_id: str, sid: str) -> bool:
        """Whether the device is online by this very socket."""
        record = self._records.get((user_id, device_id))
        return record is not None and record.sid == sid

    async def lose(self, user_id: int, device_id: str) -> None:
        """The device is gone."""
        if self._records.pop((user_id, device_id), None) is not None:
            await self.tell(user_id, device_id)

    def expired(self) -> list[tuple[int, str]]:
        """Devices that have been silent for longer than a record lives."""
        return [key for key, record in self._records.items() if not self._is_alive(record)]

    # --- for the user --------------------------------------------------------------------------

    def is_online(self, user_id: int, device_id: str) -> bool:
        """Whether tasks can be sent to the device now."""
        return self._record(user_id, device_id) is not None

    async def infos(self, user_id: int) -> list[Json]:
        """The user's devices, as the REST interface shows them."""
        query = "SELECT * FROM devices WHERE user_id = ? AND NOT is_deleted ORDER BY id"
        rows = await self._store.rows(_Device, query, user_id)
        return [self._info(user_id, device) for device in rows]

    async def chosen(self, user_id: int, device_id: str | None) -> Json:
        """The device that a task goes to: the named one, or else the default.

        Raises:
            ExecutorError: `no_device`, `unknown_device` or `device_offline`.
        """
        infos = await self.infos(user_id)
        if device_id is None:
            defaults = [info for info in infos if info["is_default"]]
            found, missing = next(iter(defaults + infos), None), ExecutorError("no_device")
        else:
            found = next((info for info in infos if info["device_id"] == device_id), None)
            missing = ExecutorError("unknown_device", device_id=device_id)
        if found is None:
            raise missing
        if found["status"] == "offline":
            raise ExecutorError("device_offline", name=found["name"])
        return found

    async def tell(self, user_id: int, device_id: str) -> None:
        """Show the device's present state to the user's pages."""
        for info in await self.infos(user_id):
            if info["device_id"] == device_id:
                self._feed.publish(user_id, "device", info)

    # --- routes --------------------------------------------------------------------------------

    async def _show_all(self, call: Call) -> Json:
        items = await self.infos(await call.user_id())
        return {"items": items, "total": len(items)}

    async def _show_online(self, call: Call) -> Json:
        infos = await self.infos(await call.user_id())
        items = [info for info in infos if info["status"] != "offline"]
        return {"items": items, "total": len(items)}

    async def _change_default(self, call: Call) -> Json:
        user_id, device_id = await call.user_id(), call.part("device_id")
        is_default = call.request.method == "PUT"
        if not await self._store.run(lambda db: _set_default(db, user_id, device_id, is_default)):
            raise ExecutorError("unknown_device", device_id=device_id)
        for info in await self.infos(user_id):
            self._feed.publish(user_id, "device", info)
        return {"message": text("hub.default_changed")}

    async def _delete(self, call: Call) -> Json:
        """Hide the device until it registers again."""
        user_id, device_id = await call.user_id(), call.part("device_id")
        hide = (
            "UPDATE devices SET is_deleted = 1, is_default = 0"
            " WHERE user_id = ? AND device_id = ? AND NOT is_deleted"
        )
        if not await self._store.change(hide, user_id, device_id):
            raise ExecutorError("unknown_device", device_id=device_id)
        self._feed.publish(user_id, "device_deleted", {"device_id": device_id})
        return {"message": text("hub.device_deleted")}

    # --- inside --------------------------------------------------------------------------------

    def _record(self, user_id: int, device_id: str) -> _Record | None:
        record = self._records.get((user_id, device_id))
        return record if record is not None and self._is_alive(record) else None

    def _is_alive(self, record: _Record) -> bool:
        return self._clock.monotonic() - record.seen_at < ONLINE_TTL_S

    def _info(self, user_id: int, device: _Device) -> Json:
        record = self._record(user_id, device.device_id)
        used, most = self._slots(record)
        status = "offline" if record is None else record.status
        if status == "online" and most and used >= most:
            status = "busy"
        running = self._running(user_id, device.device_id)
        return (
            structs.asdict(device)
            | {
                "status": status,
                "slot_used": used,
                "slot_max": most,
                "running_tasks": [
                    {"task_id": one.task_id, "subtask_id": one.subtask_id} for one in running
                ],
            }
            | _OF_EVERY_DEVICE
            | (_NEWER_FIELDS if self._dialect == "responses" else {})
        )

    def _slots(self, record: _Record | None) -> tuple[int, int]:
        if self._dialect == "progress":
            return (len(record.running_task_ids) if record else 0), _PROGRESS_SLOTS
        slots = record.slots if record else None
        return (slots.active, slots.limit) if slots else (0, 0)


def _keep(
    db: sqlite3.Connection, user_id: int, device: Registration, now: str, online: Collection[str]
) -> bool:
    """Create the device or bring it back; a user's first one becomes the default.

    Beyond `MAX_DEVICES` the one that was unseen for longest goes, except the `online` ones.
    False if all are online.
    """
    if not _make_room(db, user_id, device.device_id, online):
        return False
    has_default = db.execute(
        "SELECT 1 FROM devices WHERE user_id = ? AND is_default AND NOT is_deleted", (user_id,)
    ).fetchone()
    row = {
        "user_id": user_id,
        "device_id": device.device_id,
        "name": device.name,
        "executor_version": device.executor_version,
        "capabilities": json.dumps(device.capabilities or []),
        "is_default": has_default is None,
        "last_heartbeat": now,
    }
    insert(
        db,
        "devices",
        row,
        "ON CONFLICT (user_id, device_id) DO UPDATE SET name = excluded.name,"
        " executor_version = excluded.executor_version, is_deleted = 0,"
        " capabilities = excluded.capabilities, last_heartbeat = excluded.last_heartbeat,"
        " is_default = max(is_default, excluded.is_default)",
    )
    return True


def _set_default(db: sqlite3.Connection, user_id: int, device_id: str, is_default: bool) -> bool:
    """Make the device the user's only default, or no longer. False if there is none such."""
    found = db.execute(
        "UPDATE devices SET is_default = ? WHERE user_id = ? AND device_id = ? AND NOT is_deleted",
        (is_default, user_id, device_id),
    ).rowcount
    if found and is_default:
        db.execute(
            "UPDATE devices SET is_default = 0 WHERE user_id = ? AND device_id != ?",
            (user_id, device_id),
        )
    return found > 0


def _make_room(
    db: sqlite3.Connection, user_id: int, device_id: str, online: Collection[str]
) -> bool:
    """Whether there is a place for the device, after forgetting the one that is missed least."""
    query = (
        "SELECT device_id FROM devices WHERE user_id = ?"
        " ORDER BY is_deleted DESC, is_default, last_heartbeat"
    )
    known = [name for (name,) in db.execute(query, (user_id,))]
    if device_id in known or len(known) < MAX_DEVICES:
        return True
    least = next((name for name in known if name not in online), None)
    db.execute("DELETE FROM devices WHERE user_id = ? AND device_id = ?", (user_id, least))
    return least is not None
